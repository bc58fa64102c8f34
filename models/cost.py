"""What a model costs: its size and its arithmetic, found without memory or computing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.registry import architecture, build_model


@dataclass(frozen=True)
class Cost:
    """Size of a model and work to classify one clip."""

    parameters: int
    flops: int
    """Floating-point operations of convolutions and matrix products forwards, a multiply-add counted as two."""


def default_cost(name: str, num_classes: int) -> Cost:
    """An architecture's cost with its default options, at its default frame count and size.

    Raises:
        ModelError: it can't be built here.
    """
    num_frames, size = architecture(name).default
    with torch.device("meta"):
        model = build_model(name, {}, num_classes=num_classes, num_frames=num_frames, size=size).eval()
        clip = torch.empty(1, num_frames, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())
