"""Networks from torchvision compute what torchvision's own models compute."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import video

from models.cost import default_cost
from models.registry import build_model, get_architecture
from tests.helpers.small_models import build_small
from tests.models.test_registry import ENUMS


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet18_has_torchvisions_parameters_and_two_layers() -> None:
    classifier = 512 * 1000 + 1000
    head = 512 * 256 + 256 + 256 * 22 + 22
    with torch.device("meta"):
        model = build_model("resnet18", {}, num_classes=22, num_frames=8, size=112)
        backbone = torchvision.models.resnet18()
    assert parameters(model) == parameters(backbone) - classifier + head
    assert parameters(backbone) == 11_689_512


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"])
def test_flops_are_those_that_torchvision_publishes(name: str) -> None:
    published = ENUMS[name, "kinetics400"].meta["_ops"]  # in 1e9 multiply-adds, for 16 frames
    flops = default_cost(name, 400).flops * 16 / get_architecture(name).default_input[0]
    assert flops / 2e9 == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(
    ("name", "number", "num_frames", "size"),
    [
        ("r3d_18", 33_371_472, 2, 32),
        ("mc3_18", 11_695_440, 2, 32),
        ("r2plus1d_18", 31_505_325, 2, 32),
        ("s3d", 8_320_048, 16, 224),
        ("mvit_v2_s", 34_537_744, 16, 224),
        ("swin3d_t", 28_158_070, 2, 224),
    ],
)
def test_logits_and_parameters_equal_torchvisions(name: str, number: int, num_frames: int, size: int) -> None:
    theirs = getattr(video, name)().eval()
    with torch.device("meta"):
        model = build_small(name, {}, num_frames, size, num_classes=400).eval()
    # torchvision's last layer has another name; in S3D it is a convolution.
    last = list(theirs.state_dict())[-2:]
    assert last[0].split(".")[0] in ("fc", "head", "classifier")
    state = {f"backbone.{key}": value for key, value in theirs.state_dict().items() if key not in last}
    state |= {"head.1.weight": theirs.state_dict()[last[0]].flatten(1), "head.1.bias": theirs.state_dict()[last[1]]}
    model.load_state_dict(state, assign=True)
    assert parameters(model) == number
    clip = torch.randn(1, 3, num_frames, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(clip.transpose(1, 2)), theirs(clip), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mvit_v2_s", "swin3d_t"])
def test_position_tables_keep_the_shape_of_their_weights_for_any_input(name: str) -> None:
    with torch.device("meta"):
        theirs = {f"backbone.{key}": value.shape for key, value in getattr(video, name)().state_dict().items()}
        for num_frames, size in ((4, 224), (16, 224), (32, 288)):
            own = build_model(name, {}, num_classes=2, num_frames=num_frames, size=size).state_dict()
            backbone = {key: value.shape for key, value in own.items() if not key.startswith("head.")}
            assert backbone == {key: shape for key, shape in theirs.items() if not key.startswith("backbone.head.")}


@pytest.mark.parametrize("name", ["mvit_v2_s", "swin3d_t"])
def test_stochastic_depth_rises_from_zero_to_its_setting(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, {"stochastic_depth": 0.4}, num_classes=2, num_frames=16, size=224)
    rates = [module.p for module in model.modules() if isinstance(module, torchvision.ops.StochasticDepth)]
    assert (rates[0], rates[-1]) == (0, pytest.approx(0.4))
    assert rates == sorted(rates)
