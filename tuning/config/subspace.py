"""The search space of one architecture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.config.schema.space import LogRange

AxisValues = tuple[Any, ...] | LogRange
"""The values to try on one axis."""


def select_prefix(choice: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the items whose names start with `prefix`, with the prefix removed."""
    return {axis.removeprefix(prefix): value for axis, value in choice.items() if axis.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Subspace:
    """The search space of one architecture. The space of a sweep is the union of its subspaces."""

    arch: str
    key: str
    """Key of its settings in the config, for error messages: `space` or `space.by_arch.ARCH`."""
    axes: dict[str, AxisValues]
    """The values of each axis. All subspaces of a sweep have the same axes in the same order: `AXES`, settings of
    training as `train.NAME`, options of architectures as `model.NAME`. The value None keeps the option as
    `models.ARCH` sets it."""

    def axes_with(self, prefix: str) -> list[str]:
        """Return the names of the axes that start with `prefix`."""
        return [axis for axis in self.axes if axis.startswith(prefix)]

    def values(self, axis: str) -> tuple[Any, ...]:
        """Return the values of an axis, which must not be a range."""
        values = self.axes[axis]
        assert not isinstance(values, LogRange)
        return values

    def combinations(self, axes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield every combination of the values of these axes; the last axis varies fastest."""
        for values in itertools.product(*map(self.values, axes)):
            yield dict(zip(axes, values, strict=True))
