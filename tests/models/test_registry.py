"""Architectures and their options."""

from __future__ import annotations

import copy
import datetime
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import video

from models.architecture import DownloadableWeights
from models.archs.c3d import C3DOptions
from models.archs.resnet18 import ResNet18Options
from models.archs.tsm_resnet18 import temporal_shift
from models.conv3d import PaddedConv3d, use_padded_conv3d
from models.cost import default_cost
from models.ensemble import Ensemble
from models.registry import ARCHITECTURES, build_model, check_input, get_architecture, parse_options
from models.temporal_pooling import AttentionPooling, LSTMPooling
from tests.helpers.small_models import CASES, SMALL, case, one_seed_one_thread, refusal, small

__all__ = ["one_seed_one_thread"]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@CASES
def test_clips_of_any_batch_give_a_logit_a_class(
    name: str, options: dict[str, Any], num_frames: int, size: int
) -> None:
    model = small(name, options, num_frames, size).eval()
    for batch in (1, 2):
        logits = model(torch.randn(batch, num_frames, 3, size, size))
        assert logits.shape == (batch, 3)
        assert logits.dtype == torch.float32


@pytest.mark.parametrize("head", ["fc", "pool"])
@pytest.mark.parametrize(("num_frames", "size"), [(8, 48), (16, 50), (24, 63), (40, 48), (64, 48), (8, 112), (8, 224)])
def test_c3d_takes_frame_counts_and_sizes_between_its_ends(num_frames: int, size: int, head: str) -> None:
    assert logits_shape("c3d", {"width": 1, "head": head}, num_frames, size) == (1, 3)


@CASES
def test_the_ends_of_frame_counts_and_sizes_are_taken(
    name: str, options: dict[str, Any], num_frames: int, size: int
) -> None:
    arch = get_architecture(name)
    for frames, side in [
        (arch.frame_counts[0], arch.sizes[0]),
        (arch.frame_counts[1], arch.sizes[1]),
        (arch.frame_counts[-1], arch.sizes[0]),
        (arch.frame_counts[0], arch.sizes[-1]),
        arch.default_input,
    ]:
        assert logits_shape(name, options, frames, side) == (1, 3)


def logits_shape(name: str, options: dict[str, Any], num_frames: int, size: int) -> tuple[int, ...]:
    """What comes of a clip, found without memory or computing."""
    with torch.device("meta"):
        model = small(name, options, num_frames, size).eval()
        return tuple(model(torch.empty(1, num_frames, 3, size, size)).shape)


@pytest.mark.parametrize(("num_classes", "published"), [(487, 79_991_015), (101, 78_409_573)])
def test_c3d_has_the_papers_parameters(num_classes: int, published: int) -> None:
    channels = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    convolutions = sum(27 * before * after + after for before, after in itertools.pairwise(channels))
    layers = [512 * 1 * 4 * 4, 4096, 4096, num_classes]
    fully_connected = sum(before * after + after for before, after in itertools.pairwise(layers))
    assert convolutions + fully_connected == published
    with torch.device("meta"):
        model = build_model("c3d", {}, num_classes=num_classes, num_frames=16, size=112)
    assert parameters(model) == published


def test_c3d_grows_with_its_width() -> None:
    model = small("c3d", {"width": 3, "head": "pool"}, 8, 48)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv3d)]
    assert [convolution.out_channels for convolution in convolutions] == [3, 6, 12, 12, 24, 24, 24, 24]
    assert [module.in_features for module in model.modules() if isinstance(module, nn.Linear)] == [24]


def test_batch_norm_follows_each_convolution() -> None:
    model = small("c3d", {"width": 2, "batch_norm": True, "head": "pool"}, 8, 48)
    assert sum(isinstance(module, nn.BatchNorm3d) for module in model.modules()) == 8
    assert not any(isinstance(module, nn.BatchNorm3d) for module in small(*case("c3d")).modules())


def test_resnet18_has_torchvisions_parameters_and_two_layers() -> None:
    classifier = 512 * 1000 + 1000
    head = 512 * 256 + 256 + 256 * 22 + 22
    with torch.device("meta"):
        model = build_model("resnet18", {}, num_classes=22, num_frames=8, size=112)
        backbone = torchvision.models.resnet18()
    assert parameters(model) == parameters(backbone) - classifier + head
    assert parameters(backbone) == 11_689_512


LEFT_ALONE = {
    f"backbone.blocks.15.attn.{part}" for part in ("rel_pos_t", "rel_pos_h", "rel_pos_w", "pool_q.pool.weight")
}
"""Of MViT's last block only the class token goes on, which neither relative positions nor the pool touch."""


@CASES
def test_a_trained_model_comes_back_from_its_state_dict(
    name: str, options: dict[str, Any], num_frames: int, size: int, tmp_path: Path
) -> None:
    model = small(name, options, num_frames, size)
    start = {key: value.clone() for key, value in model.named_parameters()}
    # Those that take large clips alone have no batch norm, which of two values makes 1 and -1.
    labels = torch.tensor([0, 1, 2, 0] if size < 64 else [0])
    clips = torch.randn(len(labels), num_frames, 3, size, size)
    nn.functional.cross_entropy(model(clips), labels).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    still = {key for key, value in model.named_parameters() if torch.equal(value, start[key])}
    assert still == (LEFT_ALONE if name == "mvit_v2_s" else set())

    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = small(name, options, num_frames, size)
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(model.eval()(clips), other.eval()(clips))


@CASES
def test_the_same_seed_gives_the_same_model(name: str, options: dict[str, Any], num_frames: int, size: int) -> None:
    torch.manual_seed(7)
    first = small(name, options, num_frames, size).state_dict()
    torch.manual_seed(7)
    second = small(name, options, num_frames, size).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(value.std() > 0 for key, value in first.items() if key.startswith("head.") and value.dim() > 1)


def test_only_the_frame_average_is_blind_to_order() -> None:
    for name, options, _, size in SMALL:
        if size > 48 or 8 not in get_architecture(name).frame_counts:
            continue
        clips = torch.randn(2, 8, 3, size, size)
        backwards = clips.flip(1)
        model = small(name, options | ({"width": 4} if name == "c3d" else {}), 8, size).eval()
        with_batch_statistics(model)
        with torch.no_grad():
            logits = model(clips)
            change = relative_error(logits, model(backwards))
        assert relative_error(logits[:1], logits[1:]) > 1e-3
        blind = options.get("temporal") is None and name in ("resnet18", "resnet50", "efficientnet_lite0")
        assert (change < 1e-5) if blind else (change > 1e-3), f"{name} {options}: {change}"


def with_batch_statistics(model: nn.Module) -> None:
    """Norms that follow the batch at hand: untrained ones let the signal of some networks die away."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.train()


def test_the_frame_average_is_the_mean_of_single_frames_features() -> None:
    model = small(*case("resnet18")).eval()
    clip = torch.randn(1, 3, 3, 32, 32)
    with torch.no_grad():
        features = torch.stack([model.get_submodule("backbone")(clip[:, t]) for t in range(3)]).mean(0)
        layers = [model.get_submodule(f"head.{number}") for number in range(4)]
        torch.testing.assert_close(nn.Sequential(*layers)(features), model(clip))


def test_the_lstm_hands_on_what_it_holds_after_the_last_frame() -> None:
    head = LSTMPooling(5, 3)
    features = torch.randn(2, 4, 5)
    _, (hidden, _) = head.lstm(features)
    torch.testing.assert_close(head(features), hidden[0])


def test_attention_tells_frames_apart_by_their_positions_alone() -> None:
    head = AttentionPooling(5, 8, num_frames=4, dropout=0.5).eval()
    features = torch.randn(2, 4, 5)
    order = torch.tensor([2, 0, 3, 1])
    assert not torch.allclose(head(features), head(features[:, order]), atol=1e-5)
    with torch.no_grad():
        head.positions.zero_()
        torch.testing.assert_close(head(features), head(features[:, order]))


def test_the_shift_moves_channels_to_the_neighbouring_frames() -> None:
    clip = torch.arange(1.0, 16.0).reshape(1, 3, 5, 1)  # frames of five channels: 1-5, 6-10, 11-15
    shifted = [[6, 11, 0], [0, 2, 7], [3, 8, 13], [4, 9, 14], [5, 10, 15]]
    torch.testing.assert_close(temporal_shift(clip, 1)[0, :, :, 0], torch.tensor(shifted, dtype=torch.float32).T)


def test_each_block_of_tsm_sees_the_neighbours_and_keeps_its_own_way() -> None:
    model, plain = small(*case("tsm_resnet18")).eval(), small(*case("resnet18")).eval()
    plain.load_state_dict(model.state_dict())
    assert set(model.state_dict()) == set(plain.state_dict())
    with torch.no_grad():
        still = torch.randn(1, 1, 64, 8, 8).expand(1, 3, 64, 8, 8)
        block, other = (net.get_submodule("backbone.layer1.0") for net in (model, plain))
        # On a still picture the middle frame gets back what it gives away; the ends miss a neighbour.
        differ = [(block(still[0]) - other(still[0]))[t].abs().max() > 1e-4 for t in range(3)]
    assert differ == [True, False, True]


def test_tsm_refuses_clips_that_would_run_into_each_other() -> None:
    model = small(*case("tsm_resnet18")).eval()
    message = "tsm_resnet18 was built for clips of 3 frames, not 6"
    assert refusal(model, torch.randn(1, 6, 3, 32, 32)) == message


def moving_bars() -> tuple[torch.Tensor, torch.Tensor]:
    """Clips whose class is the way that a bar moves: no single frame tells it."""
    labels = torch.arange(8) % 2
    clips = torch.rand(8, 8, 3, 48, 48) * 0.2
    for clip, label in zip(clips, labels.tolist(), strict=True):
        start = int(torch.randint(48, ()))
        for t, frame in enumerate(clip):
            left = (start + (4 * t if label else -4 * t)) % 48
            frame[:, :, left : left + 6] += 1
    return (clips - 0.4) / 0.22, labels


def test_plain_c3d_learns_from_scratch() -> None:
    clips, labels = moving_bars()
    model = small("c3d", {"width": 8, "fc": 64}, 8, 48, num_classes=2)
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


def test_plain_c3d_keeps_the_signal_up_to_the_last_convolution() -> None:
    model = small("c3d", {"width": 16, "head": "pool"}, 8, 48)
    with torch.no_grad():
        up_to_last = nn.Sequential(
            *[layer for stage in model.get_submodule("features").children() for layer in stage.children()][:-2]
        )
        last = up_to_last(torch.randn(2, 3, 8, 48, 48))
    assert 0.05 < last.std() < 5


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
def test_frame_counts_and_sizes_out_of_range_are_refused(name: str, num_frames: int, size: int, message: str) -> None:
    assert refusal(get_architecture(name).check, num_frames, size) == message
    assert refusal(build_model, name, {}, num_classes=2, num_frames=num_frames, size=size) == message


def test_an_unknown_architecture_names_the_nearest() -> None:
    assert refusal(get_architecture, "resnet-18") == "no architecture is called 'resnet-18'; did you mean 'resnet18'?"
    assert refusal(get_architecture, "quux") == (
        "no architecture is called 'quux'; there are resnet18, resnet50, efficientnet_lite0, "
        "tsm_resnet18, c3d, r3d_18, mc3_18, r2plus1d_18, s3d, mvit_v2_s, swin3d_t"
    )


def test_options_become_a_config() -> None:
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
            "resnet18's temporal_width is 20: with temporal: attention it must be a multiple of 8, the number of heads",
        ),
    ],
)
def test_options_of_another_name_type_or_range_are_refused(name: str, options: dict[Any, Any], message: str) -> None:
    assert refusal(parse_options, name, options) == message


def test_importing_the_registry_does_not_import_what_single_architectures_need() -> None:
    script = (
        "import sys, models.registry, models.weights; sys.exit(any(name in sys.modules for name in ('torchvision', "
        "'timm')))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2]).returncode == 0


def test_an_architecture_whose_package_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    message = "efficientnet_lite0 needs the package timm: pip install -r requirements-pretrained.txt"
    assert refusal(check_input, "efficientnet_lite0", {}, 8, 112) == message
    assert refusal(small, *case("efficientnet_lite0")) == message
    assert (Path(__file__).parents[2] / "requirements-pretrained.txt").is_file()


@CASES
def test_a_still_background_makes_no_difference_once_the_mean_frame_is_subtracted(
    name: str, options: dict[str, Any], num_frames: int, size: int
) -> None:
    batch = 2 if size < 64 else 1
    frames, background = torch.randn(batch, num_frames, 3, size, size), torch.randn(batch, 1, 3, size, size)
    model = small(name, options, num_frames, size).eval()
    moving = small(name, options | {"subtract_mean_frame": True}, num_frames, size).eval()
    moving.load_state_dict(model.state_dict())
    with_batch_statistics(model)
    with_batch_statistics(moving)
    with torch.no_grad():
        assert relative_error(model(frames), model(frames + background)) > 0.1
        assert relative_error(moving(frames), moving(frames + background)) < 0.01


def relative_error(true: torch.Tensor, other: torch.Tensor) -> float:
    return float((true - other).norm() / true.norm())


def test_a_single_frame_less_its_own_mean_is_refused() -> None:
    options = {"subtract_mean_frame": True}
    assert refusal(small, "resnet18", options, 1, 48).startswith(
        "resnet18 with subtract_mean_frame can't take 1 frame, which"
    )


@pytest.mark.parametrize("name", ["c3d", "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"])
def test_3d_convolutions_have_the_gradient_of_fp32_in_bf16(name: str) -> None:
    """All kinds that the architecture has, at all lengths at which it meets them in clips of 2 to 16 frames."""
    met = [each for num_frames in (2, 4, 8, 16) for each in convolutions_met(name, num_frames)]
    if name not in ("mvit_v2_s", "swin3d_t"):  # whose lengths don't fall by stages
        assert any(length == 2 and kernel > 1 for _, length, kernel in met)
    kinds = {}
    for convolution, length, _ in met:
        signature = (convolution.kernel_size, convolution.stride, convolution.groups > 1, convolution.in_channels == 3)
        kinds.setdefault((*signature, length), convolution)
    for (*_, length), convolution in kinds.items():
        compare_gradients(convolution, length)


def convolutions_met(name: str, num_frames: int) -> list[tuple[nn.Conv3d, int, int]]:
    """An architecture's 3-D convolutions with the length that each sees and the length of its kernel."""
    _, options, _, size = case(name)
    if num_frames not in get_architecture(name).frame_counts:
        return []
    met: list[tuple[nn.Conv3d, int, int]] = []
    with torch.device("meta"):
        model = small(name, options, num_frames, size).eval()
    assert not any(type(module) is nn.Conv3d for module in model.modules())
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_pre_hook(
                lambda seen, inputs: met.append((seen, inputs[0].shape[2], seen.kernel_size[0]))
            )
    model(torch.empty(1, num_frames, 3, size, size, device="meta"))
    return met


def compare_gradients(met: nn.Conv3d, length: int) -> None:
    convolution = copy.deepcopy(met).to_empty(device="cpu")
    nn.init.kaiming_normal_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    clip, results, gradients = torch.randn(4, convolution.in_channels, length, 9, 9), [], []
    for bf16 in (False, True):
        convolution.zero_grad()
        # Memory that is read before it is written shows as NaN.
        poison()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            result = convolution(clip)
        weighting = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        poison()
        result.backward(weighting.to(result.dtype))
        assert convolution.weight.grad is not None
        results.append(result.detach().float())
        gradients.append(convolution.weight.grad.clone())
    assert relative_error(*results) < 0.02
    assert relative_error(*gradients) < 0.02


def poison() -> None:
    blocks = [torch.full((2**power,), float("nan")) for power in range(8, 22) for _ in range(3)]
    del blocks


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [2, 5, 20])
def test_padding_by_hand_changes_no_result(kernel: int, stride: int, length: int) -> None:
    plain = nn.Conv3d(4, 8, (kernel, 3, 3), (stride, 2, 2), (kernel // 2, 1, 1), groups=2)
    network = use_padded_conv3d(nn.Sequential(plain))
    assert set(network.state_dict()) == {"0.weight", "0.bias"}
    assert isinstance(network[0], PaddedConv3d)
    clip = torch.randn(2, 4, length, 6, 6)
    torch.testing.assert_close(network(clip), plain(clip))


@CASES
def test_stages_hold_each_parameter_of_the_backbone_once_and_in_the_order_of_computing(
    name: str, options: dict[str, Any], num_frames: int, size: int
) -> None:
    arch = get_architecture(name)
    with torch.device("meta"):
        model = small(name, options, num_frames, size).eval()
    parts = (*arch.stages, arch.head_prefix)
    for key, _ in model.named_parameters():
        assert [part for part in parts if key.startswith(part)] in [[part] for part in parts], key
    for part in parts:
        assert part.endswith(".")
        assert any(key.startswith(part) for key, _ in model.named_parameters()), part
    order: list[str] = []
    for part in parts:
        model.get_submodule(part.removesuffix(".")).register_forward_pre_hook(
            lambda _module, _inputs, part=part: order.append(part)
        )
    model(torch.empty(1, num_frames, 3, size, size, device="meta"))
    assert tuple(order) == parts


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


@pytest.mark.parametrize(("name", "weights"), ENUMS)
def test_named_weights_and_the_normalisation_are_torchvisions(name: str, weights: str) -> None:
    theirs, arch = ENUMS[name, weights], get_architecture(name)
    assert arch.weights[weights] == DownloadableWeights(theirs.url)
    assert (arch.mean, arch.std) == (tuple(theirs.transforms().mean), tuple(theirs.transforms().std))
    assert arch.default_input[1] == theirs.transforms().crop_size[0]


def test_every_other_named_weights_are_tested_elsewhere() -> None:
    named = {(arch.name, weights) for arch in ARCHITECTURES.values() for weights in arch.weights}
    assert named - set(ENUMS) == {("efficientnet_lite0", "imagenet"), ("c3d", "sports1m")}


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"])
def test_the_work_for_a_clip_is_what_torchvision_states(name: str) -> None:
    published = ENUMS[name, "kinetics400"].meta["_ops"]  # in thousand million multiply-adds, for 16 frames
    flops = default_cost(name, 400).flops * 16 / get_architecture(name).default_input[0]
    assert flops / 2e9 == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(
    ("name", "parameters", "num_frames", "size"),
    [
        ("r3d_18", 33_371_472, 2, 32),
        ("mc3_18", 11_695_440, 2, 32),
        ("r2plus1d_18", 31_505_325, 2, 32),
        ("s3d", 8_320_048, 16, 224),
        ("mvit_v2_s", 34_537_744, 16, 224),
        ("swin3d_t", 28_158_070, 2, 224),
    ],
)
def test_networks_for_clips_answer_as_torchvisions(name: str, parameters: int, num_frames: int, size: int) -> None:
    theirs = getattr(video, name)().eval()
    model = small(name, {}, num_frames, size, num_classes=400).eval()
    # Theirs end in a linear layer of another name, in S3D written as a convolution.
    last = list(theirs.state_dict())[-2:]
    assert last[0].split(".")[0] in ("fc", "head", "classifier")
    state = {f"backbone.{key}": value for key, value in theirs.state_dict().items() if key not in last}
    state |= {"head.1.weight": theirs.state_dict()[last[0]].flatten(1), "head.1.bias": theirs.state_dict()[last[1]]}
    model.load_state_dict(state)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    clip = torch.randn(1, 3, num_frames, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(clip.transpose(1, 2)), theirs(clip), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mvit_v2_s", "swin3d_t"])
def test_position_tables_have_the_shape_of_their_weights_whatever_the_clip(name: str) -> None:
    with torch.device("meta"):
        theirs = {f"backbone.{key}": value.shape for key, value in getattr(video, name)().state_dict().items()}
        for num_frames, size in ((4, 224), (16, 224), (32, 288)):
            own = build_model(name, {}, num_classes=2, num_frames=num_frames, size=size).state_dict()
            backbone = {key: value.shape for key, value in own.items() if not key.startswith("head.")}
            assert backbone == {key: shape for key, shape in theirs.items() if not key.startswith("backbone.head.")}


@pytest.mark.parametrize("name", ["mvit_v2_s", "swin3d_t"])
def test_stochastic_depth_rises_to_the_share_that_is_set(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, {"stochastic_depth": 0.4}, num_classes=2, num_frames=16, size=224)
    shares = [module.p for module in model.modules() if isinstance(module, torchvision.ops.StochasticDepth)]
    assert (shares[0], shares[-1]) == (0, pytest.approx(0.4))
    assert shares == sorted(shares)


def test_an_ensemble_answers_with_the_mean_probability() -> None:
    members = [small(*SMALL[0]).eval() for _ in range(2)]
    frames = torch.randn(2, 8, 3, 64, 64)
    with torch.inference_mode():
        answer = Ensemble(members)(frames)
        mean = torch.stack([member(frames).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(answer.softmax(1), mean)
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(2))
