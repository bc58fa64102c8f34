"""What all architectures have in common, checked on each with small clips."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.clip_model import ClipModel
from models.registry import get_architecture
from tests.helpers.small_models import CASES, IDS, SMALL, Case, build_small


@pytest.fixture(scope="module", params=SMALL, ids=IDS)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def untrained(case: Case) -> ClipModel:
    """Build each case once, since initialising millions of weights takes seconds; tests train or change a copy."""
    torch.manual_seed(0)
    return build_small(*case)


@pytest.fixture
def model(untrained: ClipModel) -> ClipModel:
    return copy.deepcopy(untrained)


def relative_error(expected: torch.Tensor, found: torch.Tensor) -> float:
    return float((expected - found).norm() / expected.norm())


def use_batch_statistics(model: nn.Module) -> None:
    """Let batch norm use the statistics of the batch: in untrained networks the signal would vanish."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.train()


def test_output_has_a_float32_logit_per_class_for_any_batch_size(case: Case, model: ClipModel) -> None:
    _, _, num_frames, size = case
    model.eval()
    for batch in (1, 2):
        logits = model(torch.randn(batch, num_frames, 3, size, size))
        assert logits.shape == (batch, 3)
        assert logits.dtype == torch.float32


UNUSED_PARAMETERS = {
    f"backbone.blocks.15.attn.{part}" for part in ("rel_pos_t", "rel_pos_h", "rel_pos_w", "pool_q.pool.weight")
}
"""MViT's classifier reads only the class token of the last block, which uses neither positions nor the query pool."""


def test_training_moves_all_parameters_and_a_state_dict_restores_the_model(
    case: Case, model: ClipModel, untrained: ClipModel, tmp_path: Path
) -> None:
    name, _, num_frames, size = case
    # Architectures that take large clips only have no batch norm, which would turn two values into 1 and -1.
    labels = torch.tensor([0, 1, 2, 0] if size < 64 else [0])
    clips = torch.randn(len(labels), num_frames, 3, size, size)
    nn.functional.cross_entropy(model(clips), labels).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    start = dict(untrained.named_parameters())
    unmoved = {key for key, value in model.named_parameters() if torch.equal(value, start[key])}
    assert unmoved == (UNUSED_PARAMETERS if name == "mvit_v2_s" else set())

    torch.save(model.state_dict(), tmp_path / "model.pt")
    restored = copy.deepcopy(untrained)
    restored.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(model.eval()(clips), restored.eval()(clips))


def test_same_seed_gives_the_same_weights(case: Case, untrained: ClipModel) -> None:
    torch.manual_seed(0)
    first, second = untrained.state_dict(), build_small(*case).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(value.std() > 0 for key, value in first.items() if key.startswith("head.") and value.dim() > 1)


def test_subtract_mean_frame_makes_a_still_background_irrelevant(case: Case, model: ClipModel) -> None:
    name, options, num_frames, size = case
    batch = 2 if size < 64 else 1
    frames, background = torch.randn(batch, num_frames, 3, size, size), torch.randn(batch, 1, 3, size, size)
    with torch.device("meta"):
        subtracting = build_small(name, options | {"subtract_mean_frame": True}, num_frames, size)
    subtracting.load_state_dict(model.state_dict(), assign=True)
    for each in (model.eval(), subtracting.eval()):
        use_batch_statistics(each)
    with torch.no_grad():
        assert relative_error(model(frames), model(frames + background)) > 0.1
        assert relative_error(subtracting(frames), subtracting(frames + background)) < 0.01


def logits_shape(name: str, options: dict[str, Any], num_frames: int, size: int) -> tuple[int, ...]:
    """Return the output shape for one clip, computed without memory or arithmetic."""
    with torch.device("meta"):
        model = build_small(name, options, num_frames, size).eval()
        return tuple(model(torch.empty(1, num_frames, 3, size, size)).shape)


@CASES
def test_ends_of_valid_frame_counts_and_sizes_work(
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


@pytest.mark.parametrize("head", ["fc", "pool"])
@pytest.mark.parametrize(("num_frames", "size"), [(8, 48), (16, 50), (24, 63), (40, 48), (64, 48), (8, 112), (8, 224)])
def test_c3d_takes_frame_counts_and_sizes_in_between(num_frames: int, size: int, head: str) -> None:
    assert logits_shape("c3d", {"width": 1, "head": head}, num_frames, size) == (1, 3)


@CASES
def test_stages_cover_each_backbone_parameter_once_in_forward_order(
    name: str, options: dict[str, Any], num_frames: int, size: int
) -> None:
    arch = get_architecture(name)
    with torch.device("meta"):
        model = build_small(name, options, num_frames, size).eval()
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


EIGHT_FRAMES = [
    (name, options | ({"width": 4} if name == "c3d" else {}), size)
    for name, options, _, size in SMALL
    if size <= 48 and 8 in get_architecture(name).frame_counts
]


@pytest.mark.parametrize(("name", "options", "size"), EIGHT_FRAMES, ids=str)
def test_only_average_pooling_ignores_the_order_of_frames(name: str, options: dict[str, Any], size: int) -> None:
    clips = torch.randn(2, 8, 3, size, size)
    model = build_small(name, options, 8, size).eval()
    use_batch_statistics(model)
    with torch.no_grad():
        logits = model(clips)
        change = relative_error(logits, model(clips.flip(1)))
    assert relative_error(logits[:1], logits[1:]) > 1e-3
    ignores_order = options.get("temporal") is None and name in ("resnet18", "resnet50", "efficientnet_lite0")
    assert (change < 1e-5) if ignores_order else (change > 1e-3), change
