"""Types of architecture options, and the options that every architecture has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

Width = Annotated[int, Field(ge=1)]
"""Number of channels or units of a layer."""

DropRate = Annotated[float, Field(ge=0, lt=1)]
"""Probability of dropping a unit or a branch in training."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options that every architecture has."""

    subtract_mean_frame: bool = False
    """Subtract each clip's mean over time from its frames, which removes a still background and keeps motion. Weights
    that were trained on plain frames then start from inputs they have never had."""
