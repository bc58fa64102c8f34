"""Markdown tables, and how repeats of a measurement are shown in them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """Return a Markdown table with all cells as they are given."""
    return tabulate(list(rows), header, tablefmt="github", disable_numparse=True)


def spread(values: Sequence[float], number_format: str = ".2f", unit: str = "") -> str:
    """Return the median with the smallest and the largest value: `1.50 s (1.20 to 2.00)`.

    Args:
        values: repeats of one measurement; the result is empty without any, and without a range if all look the same.
        number_format: format of each number.
        unit: follows the median.
    """
    if not values:
        return ""
    suffix = f" {unit}" if unit else ""
    smallest, largest = f"{min(values):{number_format}}", f"{max(values):{number_format}}"
    if smallest == largest:
        return smallest + suffix
    return f"{statistics.median(values):{number_format}}{suffix} ({smallest} to {largest})"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divide two measurements round by round."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]
