"""Look architectures up by name, validate their options and inputs, and build them."""

from __future__ import annotations

import datetime
import subprocess
import sys
from typing import Any

import pytest
import torchvision
from torchvision.models import video

from models.architecture import DownloadableWeights
from models.archs.c3d import C3DOptions
from models.archs.resnet18 import ResNet18Options
from models.registry import ARCHITECTURES, build_model, check_input, check_weights, get_architecture, parse_options
from tests.helpers.processes import PROJECT
from tests.helpers.small_models import build_small, error_message, first_case


@pytest.mark.parametrize(
    ("name", "num_frames", "size", "message"),
    [
        ("resnet18", 0, 112, "resnet18 can't take 0 frames: it takes 1 to 128"),
        ("resnet18", 129, 112, "resnet18 can't take 129 frames: it takes 1 to 128"),
        ("resnet18", 8, 31, "resnet18 can't take frames of size 31: it takes 32 to 512"),
        ("resnet18", 8, 513, "resnet18 can't take frames of size 513: it takes 32 to 512"),
        ("c3d", 0, 112, "c3d can't take 0 frames: it takes multiples of 8 from 8 to 64"),
        ("c3d", 12, 112, "c3d can't take 12 frames: it takes multiples of 8 from 8 to 64"),
        ("c3d", 72, 112, "c3d can't take 72 frames: it takes multiples of 8 from 8 to 64"),
        ("c3d", 16, 47, "c3d can't take frames of size 47: it takes 48 to 224"),
        ("c3d", 16, 225, "c3d can't take frames of size 225: it takes 48 to 224"),
        ("tsm_resnet18", 1, 112, "tsm_resnet18 can't take 1 frames: it takes 2 to 128"),
        ("mvit_v2_s", 16, 112, "mvit_v2_s can't take frames of size 112: it takes multiples of 32 from 64 to 448"),
        ("swin3d_t", 16, 192, "swin3d_t can't take frames of size 192: it takes multiples of 32 from 224 to 448"),
    ],
)
def test_invalid_frame_counts_and_sizes_raise(name: str, num_frames: int, size: int, message: str) -> None:
    assert error_message(get_architecture(name).check, num_frames, size) == message
    assert error_message(build_model, name, {}, num_classes=2, num_frames=num_frames, size=size) == message


def test_subtract_mean_frame_raises_for_one_frame() -> None:
    assert error_message(build_small, "resnet18", {"subtract_mean_frame": True}, 1, 48) == (
        "resnet18 with subtract_mean_frame can't take 1 frame: it needs at least 2"
    )


def test_unknown_architecture_suggests_the_nearest() -> None:
    assert error_message(get_architecture, "resnet-18") == (
        "no architecture is called 'resnet-18'; did you mean 'resnet18'?"
    )
    assert error_message(get_architecture, "quux") == (
        "no architecture is called 'quux'; there are resnet18, resnet50, efficientnet_lite0, "
        "tsm_resnet18, c3d, r3d_18, mc3_18, r2plus1d_18, s3d, mvit_v2_s, swin3d_t"
    )


def test_parse_options_returns_the_options_dataclass() -> None:
    assert parse_options("resnet18", {}) == ResNet18Options(hidden=256, dropout=0.5)
    assert parse_options("resnet18", {"dropout": 0}) == ResNet18Options(dropout=0.0)
    assert parse_options("c3d", {"head": "pool", "batch_norm": True}) == C3DOptions(batch_norm=True, head="pool")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("c3d", {"widht": 8}, "c3d has no option 'widht'; did you mean 'width'?"),
        ("resnet18", {"width": 8}, "resnet18 has no option 'width'; did you mean 'temporal_width'?"),
        (
            "resnet18",
            {3: 8},
            "resnet18 has no option 3; there are subtract_mean_frame, hidden, dropout, temporal, temporal_width",
        ),
        ("c3d", {"width": "8"}, "c3d's width is '8': Input should be a valid integer"),
        ("c3d", {"width": 8.0}, "c3d's width is 8.0: Input should be a valid integer"),
        ("c3d", {"width": True}, "c3d's width is True: Input should be a valid integer"),
        ("c3d", {"width": None}, "c3d's width is None: Input should be a valid integer"),
        (
            "c3d",
            {"width": datetime.date(2020, 1, 1)},
            "c3d's width is datetime.date(2020, 1, 1): Input should be a valid integer",
        ),
        ("c3d", {"batch_norm": 1}, "c3d's batch_norm is 1: Input should be a valid boolean"),
        ("c3d", {"head": "poll"}, "c3d's head is 'poll': Input should be 'fc' or 'pool'"),
        ("c3d", {"width": 0}, "c3d's width is 0: Input should be greater than or equal to 1"),
        ("c3d", {"fc": -1}, "c3d's fc is -1: Input should be greater than or equal to 1"),
        ("c3d", {"dropout": 1.0}, "c3d's dropout is 1.0: Input should be less than 1"),
        ("c3d", {"dropout": float("nan")}, "c3d's dropout is nan: Input should be less than 1"),
        (
            "c3d",
            {"head": "pool", "fc": 64},
            "c3d's fc (64) has no effect with head: pool; leave it out, or set head: fc",
        ),
        ("resnet18", {"hidden": 0}, "resnet18's hidden is 0: Input should be greater than or equal to 1"),
        ("resnet18", {"dropout": -0.1}, "resnet18's dropout is -0.1: Input should be greater than or equal to 0"),
        ("tsm_resnet18", {"shift": 0.0}, "tsm_resnet18's shift is 0.0: Input should be greater than 0"),
        ("swin3d_t", {"stochastic_depth": 1.0}, "swin3d_t's stochastic_depth is 1.0: Input should be less than 1"),
        (
            "resnet50",
            {"temporal": "mean"},
            "resnet50's temporal is 'mean': Input should be 'average', 'lstm' or 'attention'",
        ),
        (
            "resnet18",
            {"temporal_width": 64},
            "resnet18's temporal_width (64) has no effect with temporal: average; leave it out, or set temporal: lstm "
            "or attention",
        ),
        (
            "resnet18",
            {"temporal": "attention", "temporal_width": 20},
            "resnet18's temporal_width is 20; with temporal: attention it must be a multiple of 8, the number of "
            "attention heads",
        ),
    ],
)
def test_invalid_options_raise(name: str, options: dict[Any, Any], message: str) -> None:
    assert error_message(parse_options, name, options) == message


def test_check_weights_raises_for_unknown_names_without_reading_files() -> None:
    valid = "the path of a file or of a champion's folder (with a suffix or a /)"
    assert error_message(check_weights, "c3d", "imagenet") == (
        f"c3d has no weights 'imagenet': set sports1m, none or {valid}"
    )
    assert error_message(check_weights, "resnet18", "imagnet") == (
        f"resnet18 has no weights 'imagnet': set imagenet, none or {valid}"
    )
    for name, weights in [("resnet18", "imagenet"), ("c3d", "none"), ("c3d", "w.pt"), ("c3d", "./w"), ("c3d", "/w/x")]:
        check_weights(name, weights)


def test_importing_the_registry_imports_neither_torchvision_nor_timm() -> None:
    script = (
        "import sys, models.registry, models.weights; sys.exit(any(name in sys.modules for name in ('torchvision', "
        "'timm')))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=PROJECT).returncode == 0


def test_missing_optional_package_raises_and_names_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    message = "efficientnet_lite0 needs the package timm: pip install -r requirements-pretrained.txt"
    assert error_message(check_input, "efficientnet_lite0", {}, 8, 112) == message
    assert error_message(build_small, *first_case("efficientnet_lite0")) == message
    assert (PROJECT / "requirements-pretrained.txt").is_file()


ENUMS = {
    ("resnet18", "imagenet"): torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    ("tsm_resnet18", "imagenet"): torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    ("resnet50", "imagenet"): torchvision.models.ResNet50_Weights.IMAGENET1K_V2,
    ("resnet50", "imagenet_v1"): torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
    ("r3d_18", "kinetics400"): video.R3D_18_Weights.KINETICS400_V1,
    ("mc3_18", "kinetics400"): video.MC3_18_Weights.KINETICS400_V1,
    ("r2plus1d_18", "kinetics400"): video.R2Plus1D_18_Weights.KINETICS400_V1,
    ("s3d", "kinetics400"): video.S3D_Weights.KINETICS400_V1,
    ("mvit_v2_s", "kinetics400"): video.MViT_V2_S_Weights.KINETICS400_V1,
    ("swin3d_t", "kinetics400"): video.Swin3D_T_Weights.KINETICS400_V1,
}
"""Named weights that are torchvision's."""


@pytest.mark.parametrize(("name", "weights"), ENUMS)
def test_named_weights_and_normalisation_match_torchvision(name: str, weights: str) -> None:
    theirs, arch = ENUMS[name, weights], get_architecture(name)
    assert arch.weights[weights] == DownloadableWeights(theirs.url)
    assert (arch.mean, arch.std) == (tuple(theirs.transforms().mean), tuple(theirs.transforms().std))
    assert arch.default_input[1] == theirs.transforms().crop_size[0]


def test_all_other_named_weights_have_a_test_of_their_own() -> None:
    """In `archs/test_c3d.py` and `archs/test_efficientnet_lite0.py`."""
    named = {(arch.name, weights) for arch in ARCHITECTURES.values() for weights in arch.weights}
    assert named - set(ENUMS) == {("efficientnet_lite0", "imagenet"), ("c3d", "sports1m")}
