"""What all plots of the report share: a plot with its data, and a value with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from tuning.training.bootstrap import Difference, Interval

MANY_TRIALS = 60
"""From this number of trials on, each one is drawn with thin lines and small markers."""


@dataclass(frozen=True, slots=True)
class ReportPlot:
    """A plot of the report with the data that it shows."""

    name: str
    """File name of its data, without `.csv`."""
    title: str
    svg: Markup
    """An `<svg>` element, see `data.plot.inline_svg`."""
    data: pd.DataFrame
    note: str = ""
    """Caption."""
    wide: bool = False
    """Whether the page scrolls the plot sideways instead of shrinking it on a narrow screen."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval. A bootstrap interval may exclude the value."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        assert np.isfinite([self.value, self.low, self.high]).all(), self
        assert self.low <= self.high, self

    @classmethod
    def of(cls, value: float, interval: Interval) -> Estimate:
        """Return a value with its interval."""
        return cls(value, interval.low, interval.high)

    @classmethod
    def of_difference(cls, difference: Difference) -> Estimate:
        """Return a difference with its interval."""
        return cls.of(difference.value, difference.interval)


@dataclass(frozen=True, slots=True)
class LabelledEstimate:
    """An estimate with the name of what it estimates."""

    label: str
    estimate: Estimate


def percent_bounds(estimates: Sequence[Estimate]) -> tuple[list[float], list[float]]:
    """Return the lower and the upper ends of the intervals, in percent."""
    return [100 * each.low for each in estimates], [100 * each.high for each in estimates]


def plot_percent_dots(
    axes: Axes, estimates: Sequence[Estimate], heights: np.ndarray, color: str, marker: str, label: str
) -> None:
    """Plot estimates as dots with horizontal intervals, in percent, each at its height."""
    axes.hlines(heights, *percent_bounds(estimates), color=color, linewidth=1.4)
    axes.plot([100 * each.value for each in estimates], heights, color=color, marker=marker, linestyle="", label=label)
