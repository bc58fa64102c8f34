"""What the options of architectures have in common: their types, and what every one of them offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

Width = Annotated[int, Field(ge=1)]
"""A number of channels or units."""

DropRate = Annotated[float, Field(ge=0, lt=1)]
"""A share of units or branches that are dropped in training."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options that every architecture has."""

    subtract_mean_frame: bool = False
    """Take each clip's mean over time off its frames, so that a still background vanishes and what moves stays; from
    weights of plain frames a network then starts off what it knows."""
