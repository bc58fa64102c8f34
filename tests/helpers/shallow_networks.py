"""Architectures with one block per stage, for tests whose time depends on the number of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from models.registry import ARCHITECTURES


def use_shallow_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry build networks with one block per stage: every kind of layer, fewer times."""
    for name, arch in ARCHITECTURES.items():
        monkeypatch.setitem(ARCHITECTURES, name, replace(arch, build=_shallow(arch.build)))


def _shallow(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def build_shallow(*args: Any, **kwargs: Any) -> nn.Module:
        model = build(*args, **kwargs)
        backbone = getattr(model, "backbone", None)
        if hasattr(backbone, "layer1"):  # The residual networks.
            for stage in ("layer1", "layer2", "layer3", "layer4"):
                setattr(backbone, stage, getattr(backbone, stage)[:1])
        elif hasattr(backbone, "blocks"):  # EfficientNet.
            for stage in range(len(backbone.blocks)):
                backbone.blocks[stage] = backbone.blocks[stage][:1]
        elif hasattr(backbone, "features"):  # S3D: its first layers, and one Inception block to as many channels.
            inception = type(backbone.features[15])(192, 384, 192, 384, 48, 128, 128, nn.BatchNorm3d)
            backbone.features = nn.Sequential(*backbone.features[:5], inception)
        return model

    return build_shallow
