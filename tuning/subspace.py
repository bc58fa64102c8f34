"""What is tried of one architecture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.settings import MODEL_AXIS, TRAIN_AXIS, LogRange

Values = tuple[Any, ...] | LogRange
"""What is tried on one axis."""


@dataclass(frozen=True, slots=True)
class Subspace:
    """One architecture with all that is tried of it; a sweep's space is the union of some."""

    arch: str
    place: str
    """Where its settings stand, for messages."""
    axes: dict[str, Values]
    """What is tried on each axis. All subspaces of a sweep have the same axes, in the order of `AXES`, then those of
    `train` as `train.NAME`, then options as `model.NAME`: None where an option stays as `models.ARCH` has it."""

    def train_axes(self) -> dict[str, tuple[Any, ...]]:
        """The axes of `train` by the name of the setting."""
        return self._further(TRAIN_AXIS)

    def option_axes(self) -> dict[str, tuple[Any, ...]]:
        """The axes of the architecture's options by their name."""
        return self._further(MODEL_AXIS)

    def _further(self, prefix: str) -> dict[str, tuple[Any, ...]]:
        return {axis.removeprefix(prefix): self.listed(axis) for axis in self.axes if axis.startswith(prefix)}

    def listed(self, axis: str) -> tuple[Any, ...]:
        """The values of an axis that has no range."""
        values = self.axes[axis]
        assert not isinstance(values, LogRange)
        return values

    def combinations(self, axes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Each combination of the values of these axes, the last axis fastest."""
        for values in itertools.product(*map(self.listed, axes)):
            yield dict(zip(axes, values, strict=True))
