"""3-D convolutions with correct bf16 gradients on CPUs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class PaddedConv3d(nn.Conv3d):
    """A `Conv3d` that pads time explicitly if the clip is short.

    With torch 2.14.1, bf16 and a CPU, the weight gradient of `Conv3d` otherwise reads uninitialised memory and can
    crash the process. Observed with kernel 3 at length 2 (the last blocks of C3D at 16 frames) and with kernel 7 at
    lengths 2 to 7 (S3D's first layer), never from twice the kernel's length on.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`(B, C, T, H, W)` to `(B, C', T', H', W')`."""
        time, height, width = (int(length) for length in self.padding)
        if time == 0 or input.shape[2] >= 2 * self.kernel_size[0] or input.device.type != "cpu":
            return super().forward(input)
        padded = F.pad(input, (0, 0, 0, 0, time, time))
        return F.conv3d(padded, self.weight, self.bias, self.stride, (0, height, width), self.dilation, self.groups)


def use_padded_conv3d(network: nn.Module) -> nn.Module:
    """Replace each 3-D convolution of a network by a `PaddedConv3d` in place; weights and state-dict keys stay."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv3d) and not isinstance(child, PaddedConv3d):
                setattr(module, name, _padded(child))
    return network


def _padded(convolution: nn.Conv3d) -> PaddedConv3d:
    assert convolution.padding_mode == "zeros"
    padded = PaddedConv3d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        convolution.dilation,  # type: ignore[arg-type]
        convolution.groups,
        bias=convolution.bias is not None,
        device="meta",
    )
    padded.weight, padded.bias = convolution.weight, convolution.bias
    return padded
