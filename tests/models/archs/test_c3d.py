"""C3D, and the names that weight files of other implementations have."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.ensemble import Ensemble
from models.registry import build_model, get_architecture
from models.weights import WeightsReport, load_weights
from tests.helpers.small_models import build_small, first_case


@pytest.mark.parametrize(("num_classes", "published"), [(487, 79_991_015), (101, 78_409_573)])
def test_number_of_parameters_is_the_papers(num_classes: int, published: int) -> None:
    channels = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    convolutions = sum(27 * before * after + after for before, after in itertools.pairwise(channels))
    layers = [512 * 1 * 4 * 4, 4096, 4096, num_classes]
    fully_connected = sum(before * after + after for before, after in itertools.pairwise(layers))
    assert convolutions + fully_connected == published
    with torch.device("meta"):
        model = build_model("c3d", {}, num_classes=num_classes, num_frames=16, size=112)
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def test_all_layers_scale_with_the_width() -> None:
    model = build_small("c3d", {"width": 3, "head": "pool"}, 8, 48)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv3d)]
    assert [convolution.out_channels for convolution in convolutions] == [3, 6, 12, 12, 24, 24, 24, 24]
    assert [module.in_features for module in model.modules() if isinstance(module, nn.Linear)] == [24]


def test_batch_norm_follows_each_convolution() -> None:
    model = build_small("c3d", {"width": 2, "batch_norm": True, "head": "pool"}, 8, 48)
    assert sum(isinstance(module, nn.BatchNorm3d) for module in model.modules()) == 8
    assert not any(isinstance(module, nn.BatchNorm3d) for module in build_small(*first_case("c3d")).modules())


def moving_bars() -> tuple[torch.Tensor, torch.Tensor]:
    """Return clips whose class is the direction in which a bar moves: no single frame shows it."""
    labels = torch.arange(8) % 2
    clips = torch.rand(8, 8, 3, 48, 48) * 0.2
    for clip, label in zip(clips, labels.tolist(), strict=True):
        start = int(torch.randint(48, ()))
        for t, frame in enumerate(clip):
            left = (start + (4 * t if label else -4 * t)) % 48
            frame[:, :, left : left + 6] += 1
    return (clips - 0.4) / 0.22, labels


def test_learns_from_scratch_without_batch_norm() -> None:
    clips, labels = moving_bars()
    model = build_small("c3d", {"width": 8, "fc": 64}, 8, 48, num_classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert loss.item() < 0.05
    assert torch.equal(model.eval()(clips).argmax(1), labels)


def test_initialisation_keeps_the_signal_up_to_the_last_convolution() -> None:
    model = build_small("c3d", {"width": 16, "head": "pool"}, 8, 48)
    layers = [layer for stage in model.get_submodule("features").children() for layer in stage.children()]
    with torch.no_grad():
        last = nn.Sequential(*layers[:-2])(torch.randn(2, 3, 8, 48, 48))
    assert 0.05 < last.std() < 5


OTHER_NAMES = {
    "conv1 … fc8": [f"conv{part}" for part in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b")] + ["fc6", "fc7", "fc8"],
    "conv1a.conv … fc7": [f"conv{part}.conv" for part in ("1a", "2a", "3a", "3b", "4a", "4b", "5a", "5b")]
    + ["fc6", "fc7"],
    "features.0 … classifier.6": [f"features.{number}" for number in (0, 3, 6, 8, 11, 13, 16, 18)]
    + [f"classifier.{number}" for number in (0, 3, 6)],
}
"""Layer names of other implementations, in order."""

OWN_NAMES = [f"features.{name}" for name in ("0.0", "1.0", "2.0", "2.2", "3.0", "3.2", "4.0", "4.2")] + [
    f"head.{number}" for number in (1, 4, 7)
]


@pytest.mark.parametrize("names", OTHER_NAMES)
def test_sports1m_weights_load_under_all_known_names(names: str, tmp_path: Path) -> None:
    model, file = build_small(*first_case("c3d"), num_classes=3), tmp_path / "c3d.pickle"
    source = build_small(*first_case("c3d"), num_classes=487).state_dict()
    renamed = dict(zip(OWN_NAMES, OTHER_NAMES[names], strict=False))
    published = {
        f"{renamed[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": torch.randn_like(value)
        for key, value in source.items()
        if key.rpartition(".")[0] in renamed
    }
    torch.save(published, file)
    report = load_weights(model, "c3d", str(file))

    last = ("head.7.weight", "head.7.bias")
    assert set(report.loaded) == set(model.state_dict()) - set(last)
    assert (report.missing, report.mismatched) == ((last, ()) if len(renamed) == 10 else ((), last))
    assert report.unexpected == ()
    loaded = model.state_dict()
    for key in set(report.loaded) - {"features.0.0.weight"}:
        layer, _, part = key.rpartition(".")
        assert torch.equal(loaded[key], published[f"{renamed[layer]}.{part}"]), key


def test_first_convolution_of_sports1m_is_converted_from_bgr_pixels(tmp_path: Path) -> None:
    theirs, arch = nn.Conv3d(3, 2, 3, padding=1), get_architecture("c3d")
    torch.save({f"conv1.{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "c3d.pt")
    model = build_small(*first_case("c3d"))
    load_weights(model, "c3d", str(tmp_path / "c3d.pt"))
    pixels = torch.randint(256, (1, 3, 8, 48, 48)).float()
    mean, std = (torch.tensor(values).reshape(3, 1, 1, 1) for values in (arch.mean, arch.std))
    ours = model.get_submodule("features.0.0")((pixels / 255 - mean) / std)
    torch.testing.assert_close(ours, theirs((pixels - 255 * mean).flip(1)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("options", [{"width": 2, "fc": 8}, {"width": 2, "batch_norm": True, "head": "pool"}])
def test_files_from_before_features_had_stages_load(options: dict[str, Any], tmp_path: Path) -> None:
    source = build_small("c3d", options, 8, 48)
    leaves = [
        name for name, module in source.named_modules() if name.startswith("features.") and not [*module.children()]
    ]
    flat = {name: f"features.{number}" for number, name in enumerate(leaves)}
    old = {
        f"{flat.get(key.rpartition('.')[0], key.rpartition('.')[0])}.{key.rpartition('.')[2]}": value
        for key, value in source.state_dict().items()
    }
    assert "features.3.weight" in old or "features.4.weight" in old
    by_state_dict, by_weights = build_small("c3d", options, 8, 48), build_small("c3d", options, 8, 48)
    by_state_dict.load_state_dict(old)
    torch.save(old, tmp_path / "old.pt")
    report = load_weights(by_weights, "c3d", str(tmp_path / "old.pt"))
    assert report == WeightsReport(loaded=tuple(source.state_dict()))
    for model in (by_state_dict, by_weights):
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
    ensemble = Ensemble([build_small("c3d", options, 8, 48) for _ in range(2)])
    ensemble.load_state_dict({f"members.{number}.{key}": value for number in range(2) for key, value in old.items()})
