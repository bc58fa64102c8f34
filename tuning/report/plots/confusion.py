"""The confusion matrix of the champion on the test clips, as clips and as percent of the true class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data.plot import BAR, MUTED, PLOT_WIDTH, UNITS_PER_INCH, display_name, inline_svg, plot_style
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import ReportPlot

MAX_NAMED_COLUMNS = 12
"""With more classes the columns have numbers instead of names."""

_MIN_FONT_SIZE = 5.5
_MAX_OPACITY = 0.65
"""Of the square behind a number, so that the number stays legible in light and dark mode."""

_LETTER_WIDTH = 5.6
_MARGIN = 24


def confusion_counts_plot(findings: SweepFindings) -> ReportPlot:
    """Plot the confusion matrix as clips."""
    counts = np.array(findings.test.confusion)
    svg = draw_confusion(counts, findings.classes, rates=False)
    return _plot(findings, "confusion", "Confusion matrix, clips", counts, svg)


def confusion_rates_plot(findings: SweepFindings) -> ReportPlot:
    """Plot the confusion matrix as percent of the true class."""
    counts = np.array(findings.test.confusion)
    rates = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    svg = draw_confusion(counts, findings.classes, rates=True)
    return _plot(findings, "confusion_rates", "Confusion matrix, percent of the true class", rates, svg)


def _plot(findings: SweepFindings, name: str, title: str, values: np.ndarray, svg: Markup) -> ReportPlot:
    classes = list(findings.classes)
    table = pd.DataFrame(values, index=pd.Index(classes, name="true"), columns=classes).reset_index()
    note = "Rows are true classes, columns are predicted classes."
    return ReportPlot(name, title, svg, table, note, wide=len(classes) > MAX_NAMED_COLUMNS)


def draw_confusion(counts: np.ndarray, classes: Sequence[str], *, rates: bool) -> Markup:
    """Draw a confusion matrix; rows are true classes, columns are predicted classes.

    The size and the opacity of a square show the share of the true class. Its number is a count of clips, or with
    `rates` that share in percent. With more than `MAX_NAMED_COLUMNS` classes the columns are numbered. If the squares
    are too small for numbers, they have none.

    Args:
        counts: clips, int `(K, K)`, K ≥ 1, `[true][predicted]`.
        classes: K names.
        rates: write percent of the true class instead of clips; the rows then show the clips of each class.
    """
    counts = np.asarray(counts)
    assert counts.shape == (len(classes), len(classes)), (counts.shape, len(classes))
    assert (counts >= 0).all(), "a count below 0"
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    numbers = np.rint(100 * shares).astype(int) if rates else counts
    layout = _layout([display_name(name, 22) for name in classes], int(numbers.max()))
    with plot_style():
        figure = Figure(figsize=(layout.width, layout.height))
        axes = figure.subplots()
        _draw_axes(axes, layout, support if rates else None)
        for (true, predicted), share in np.ndenumerate(shares):
            _draw_square(axes, predicted, true, share)
            if counts[true, predicted] and layout.numbered:
                weight = "bold" if true == predicted else "normal"
                text = axes.text(predicted, true, str(numbers[true, predicted]), fontsize=layout.font_size)
                text.set(ha="center", va="center_baseline", fontweight=weight)
        unit = "percent of the true class" if rates else "clips"
        return inline_svg(figure, f"Confusion matrix in {unit}; classes: {len(classes)}")


@dataclass(frozen=True, slots=True)
class _Layout:
    names: list[str]
    width: float
    """Of the figure, in inches."""
    height: float
    column: float
    """Width of a column, in SVG units."""
    font_size: float
    """Of the squares' numbers."""

    @property
    def named_columns(self) -> bool:
        """Whether the columns have names and not numbers."""
        return len(self.names) <= MAX_NAMED_COLUMNS

    @property
    def numbered(self) -> bool:
        """Whether the squares are large enough for numbers."""
        return self.font_size >= _MIN_FONT_SIZE


def _layout(names: list[str], largest: int) -> _Layout:
    """Divide the width that the names of the rows leave among the columns; size the rows and the numbers to match."""
    longest, many = max(map(len, names)), len(names) > MAX_NAMED_COLUMNS
    width = PLOT_WIDTH + many
    # With many classes each row's name is followed by its number.
    column = (width * UNITS_PER_INCH - _MARGIN - _LETTER_WIDTH * (longest + 4 * many)) / len(names)
    row = max(column, 11) if many else min(column, 32)
    column_labels = 30 if many else 20 + 5.2 * longest
    font_size = min(9.5, 0.9 * column / (0.64 * len(str(largest))))
    return _Layout(names, width, (row * len(names) + column_labels) / UNITS_PER_INCH, column, font_size)


def _draw_axes(axes: Axes, layout: _Layout, support: np.ndarray | None) -> None:
    """Label rows and columns; `support` are the clips of each true class, if the rows show them."""
    names = layout.names
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    if layout.named_columns:
        axes.set_xticks(range(len(names)), names, rotation=90)
        rows = names if support is None else [f"{name} ({n})" for name, n in zip(names, support, strict=True)]
        axes.set_yticks(range(len(names)), rows, fontsize=9)
    else:
        numbers = [str(number) for number in range(1, len(names) + 1)]
        axes.set_xticks(range(len(names)), numbers, rotation=90, fontsize=min(8, 0.9 * layout.column))
        rows = [f"{name}  {number}" for name, number in zip(names, numbers, strict=True)]
        axes.set_yticks(range(len(names)), rows, fontsize=8.5)
    axes.set(xlabel="predicted" if layout.numbered else "predicted (squares: share of the true class)", ylabel="true")


def _draw_square(axes: Axes, x: int, y: int, share: float) -> None:
    """Draw a frame on the diagonal, and a square whose size and opacity grow with the share."""
    if x == y:
        axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=MUTED, linewidth=0.6))
    if share:
        side = 0.92 * max(0.45, np.sqrt(share))
        opacity = _MAX_OPACITY * (0.35 + 0.65 * share)
        colour = to_rgba(BAR, opacity)
        axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, color=colour, linewidth=0))
