from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_images
from torch import nn
from torchvision.transforms import functional as transforms

from models.registry import get_architecture
from models.weights import load_weights, read_weights
from tests.helpers.small_models import build_small


def test_packaged_weights_classify_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch home"))
    model, arch = build_small("efficientnet_lite0", {}, 1, 224).eval(), get_architecture("efficientnet_lite0")
    report = load_weights(model, "efficientnet_lite0", "imagenet")
    assert report.unexpected == ("_fc.weight", "_fc.bias")
    assert {key.split(".")[0] for key in report.missing} == {"head"}
    assert report.mismatched == ()
    assert not (tmp_path / "torch home").exists(), "nothing is downloaded"
    file = read_weights("efficientnet_lite0", "imagenet")
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (arch.mean, arch.std))
    categories = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    found = {}
    photographs = load_sample_images()
    for name, photograph in zip(photographs.filenames, photographs.images, strict=True):
        square = transforms.center_crop(transforms.resize(torch.tensor(photograph).permute(2, 0, 1), [256]), [224])
        with torch.no_grad():
            features = model.get_submodule("backbone")(((square / 255 - mean) / std)[None])
        logits = nn.functional.linear(features, file["_fc.weight"], file["_fc.bias"])
        found[Path(name).name] = categories[int(logits.argmax())]
    assert found == {"china.jpg": "palace", "flower.jpg": "daisy"}
