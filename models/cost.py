"""Parameters and FLOPs of a model, counted on the meta device: no memory, no computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.registry import build_model, get_architecture


@dataclass(frozen=True)
class Cost:
    """Size of a model, and work to classify one clip."""

    parameters: int
    flops: int
    """Floating-point operations of the convolutions and matrix products in the forward pass; a multiply-add is two."""


def model_cost(name: str, options: Mapping[str, Any], *, num_classes: int, num_frames: int, size: int) -> Cost:
    """Return the cost of an architecture with these options and this input.

    Raises:
        ModelError: the model cannot be built.
    """
    with torch.device("meta"):
        model = build_model(name, options, num_classes=num_classes, num_frames=num_frames, size=size).eval()
        clip = torch.empty(1, num_frames, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())


def default_cost(name: str, num_classes: int) -> Cost:
    """Return an architecture's cost with its default options, frame count and size.

    Raises:
        ModelError: the model cannot be built.
    """
    num_frames, size = get_architecture(name).default_input
    return model_cost(name, {}, num_classes=num_classes, num_frames=num_frames, size=size)
