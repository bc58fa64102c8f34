"""What is tried of one architecture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.config.schema import LogRange

Values = tuple[Any, ...] | LogRange
"""What is tried on one axis."""


def own_part(choice: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values on the axes whose names begin so, by the name of the setting or option."""
    return {axis.removeprefix(prefix): value for axis, value in choice.items() if axis.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Subspace:
    """One architecture with all that is tried of it; a sweep's space is the union of some."""

    arch: str
    place: str
    """Where its settings stand, for messages."""
    axes: dict[str, Values]
    """What is tried on each axis. All subspaces of a sweep have the same axes, in the order of `AXES`, then those of
    `train` as `train.NAME`, then options as `model.NAME`: None where an option stays as `models.ARCH` has it."""

    def named(self, prefix: str) -> list[str]:
        """The axes whose names begin so: settings of `train`, or options."""
        return [axis for axis in self.axes if axis.startswith(prefix)]

    def listed(self, axis: str) -> tuple[Any, ...]:
        """The values of an axis that has no range."""
        values = self.axes[axis]
        assert not isinstance(values, LogRange)
        return values

    def combinations(self, axes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Each combination of the values of these axes, the last axis fastest."""
        for values in itertools.product(*map(self.listed, axes)):
            yield dict(zip(axes, values, strict=True))
