"""Architectures with few layers, for tests whose time depends on the number of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from models.registry import ARCHITECTURES


def use_shallow_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry build networks that have every kind of layer, but few of each. C3D stays as it is."""
    for name, arch in ARCHITECTURES.items():
        monkeypatch.setitem(ARCHITECTURES, name, replace(arch, build=_shallow(arch.build)))


def _shallow(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def build_shallow(*args: Any, **kwargs: Any) -> nn.Module:
        model = build(*args, **kwargs)
        backbone = getattr(model, "backbone", None)
        if hasattr(backbone, "layer1"):
            _remove_residual_blocks(backbone)
        elif hasattr(backbone, "blocks"):
            _remove_efficientnet_blocks(backbone)
        elif hasattr(backbone, "features"):
            _remove_inception_blocks(backbone)
        return model

    return build_shallow


class _Widen(nn.Module):
    """Repeats channels: takes the place of stages that increase their number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        repeats = -(-self.channels // features.shape[1])
        return torch.cat([features] * repeats, 1)[:, : self.channels]


def _remove_residual_blocks(backbone: nn.Module) -> None:
    """Keep the first block of the first stage, and that of the last one, which changes the shape."""
    backbone.layer1, backbone.layer4 = backbone.layer1[:1], backbone.layer4[:1]
    (first_convolution,) = [module for module in backbone.layer4.modules() if _is_downsampling(module)]
    backbone.layer2, backbone.layer3 = nn.Identity(), _Widen(first_convolution.in_channels)


def _is_downsampling(module: nn.Module) -> bool:
    """Whether this is the convolution on the shortcut of a residual block."""
    return isinstance(module, nn.Conv2d | nn.Conv3d) and set(module.kernel_size) == {1} and set(module.stride) != {1}


def _remove_efficientnet_blocks(backbone: nn.Module) -> None:
    """Keep a separable block, inverted residuals with and without shortcut and with both kernel sizes."""
    stages = backbone.blocks
    widen = _Widen(stages[6][0].conv_pw.in_channels)
    backbone.blocks = nn.Sequential(stages[0][:1], stages[1][:2], stages[2][:1], widen, stages[6][:1])


def _remove_inception_blocks(backbone: nn.Module) -> None:
    """Keep S3D's first layers, and one Inception block with as many channels as the last one."""
    inception = type(backbone.features[15])(192, 384, 192, 384, 48, 128, 128, nn.BatchNorm3d)
    backbone.features = nn.Sequential(*backbone.features[:5], inception)
