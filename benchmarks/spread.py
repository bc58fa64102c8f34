"""How repeats of a measurement are said."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], how: str = ".2f", unit: str = "") -> str:
    """Median, least and greatest: `1.50 s (1.20 to 2.00)`.

    Args:
        values: at least one.
        how: format of each number.
        unit: stands behind the median.
    """
    middle = f"{statistics.median(values):{how}}{f' {unit}' if unit else ''}"
    return f"{middle} ({min(values):{how}} to {max(values):{how}})"


def ratios(mine: Sequence[float], others: Sequence[float]) -> list[float]:
    """Round by round, how many times the other's it is."""
    return [one / other for one, other in zip(mine, others, strict=True)]
