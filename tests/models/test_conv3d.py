"""3-D convolutions with explicit padding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.conv3d import PaddedConv3d, use_padded_conv3d
from models.registry import get_architecture
from tests.helpers.small_models import build_small, first_case


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [2, 5, 20])
def test_padded_conv3d_equals_conv3d(kernel: int, stride: int, length: int) -> None:
    plain = nn.Conv3d(4, 8, (kernel, 3, 3), (stride, 2, 2), (kernel // 2, 1, 1), groups=2)
    network = use_padded_conv3d(nn.Sequential(plain))
    assert set(network.state_dict()) == {"0.weight", "0.bias"}
    assert isinstance(network[0], PaddedConv3d)
    clip = torch.randn(2, 4, length, 6, 6)
    torch.testing.assert_close(network(clip), plain(clip))


@pytest.mark.parametrize("name", ["c3d", "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"])
def test_bf16_gradients_equal_fp32_gradients(name: str) -> None:
    """For each kind of 3-D convolution of an architecture, at each length that clips of 2 to 16 frames give it."""
    found = [each for num_frames in (2, 4, 8, 16) for each in convolutions_with_lengths(name, num_frames)]
    if name not in ("mvit_v2_s", "swin3d_t"):  # the time axis of these two does not shrink from stage to stage
        assert any(length == 2 and kernel > 1 for _, length, kernel in found)
    kinds = {}
    for convolution, length, _ in found:
        kind = (convolution.kernel_size, convolution.stride, convolution.groups > 1, convolution.in_channels == 3)
        kinds.setdefault((*kind, length), convolution)
    for (*_, length), convolution in kinds.items():
        compare_gradients(convolution, length)


def convolutions_with_lengths(name: str, num_frames: int) -> list[tuple[nn.Conv3d, int, int]]:
    """Return an architecture's 3-D convolutions with the length of their input and of their kernel."""
    _, options, _, size = first_case(name)
    if num_frames not in get_architecture(name).frame_counts:
        return []
    found: list[tuple[nn.Conv3d, int, int]] = []
    with torch.device("meta"):
        model = build_small(name, options, num_frames, size).eval()
    assert not any(type(module) is nn.Conv3d for module in model.modules())
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_pre_hook(
                lambda conv, inputs: found.append((conv, inputs[0].shape[2], conv.kernel_size[0]))
            )
    model(torch.empty(1, num_frames, 3, size, size, device="meta"))
    return found


def compare_gradients(meta_convolution: nn.Conv3d, length: int) -> None:
    convolution = copy.deepcopy(meta_convolution).to_empty(device="cpu")
    nn.init.kaiming_normal_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    clip, results, gradients = torch.randn(4, convolution.in_channels, length, 9, 9), [], []
    for bf16 in (False, True):
        convolution.zero_grad()
        fill_free_memory_with_nan()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            result = convolution(clip)
        weighting = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        fill_free_memory_with_nan()
        result.backward(weighting.to(result.dtype))
        assert convolution.weight.grad is not None
        results.append(result.detach().float())
        gradients.append(convolution.weight.grad.clone())
    for expected, found in (results, gradients):
        assert (expected - found).norm() < 0.02 * expected.norm()


def fill_free_memory_with_nan() -> None:
    """Make reads of uninitialised memory visible."""
    blocks = [torch.full((2**power,), float("nan")) for power in range(8, 22) for _ in range(3)]
    del blocks
