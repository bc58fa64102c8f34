"""The report's plots of one model or of several on a split: right and wrong, sure and unsure, with and without order.

All of them return an inline `<svg>` (see `data.plot`). Plots of a sweep's trials are in `tuning.report.sweep_plots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from data.intervals import wilson_interval
from data.plot import (
    BAR,
    BLUE,
    GREEN,
    INK,
    MUTED,
    PLOT_WIDTH,
    UNITS_PER_INCH,
    VERMILION,
    annotate_row,
    display_name,
    inline_svg,
    label_rows,
    plot_style,
    series_style,
)
from tuning.training.calibration import ReliabilityBin, RiskCoveragePoint


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval; the figure may lie outside it, as a bootstrap's may."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        assert np.isfinite([self.value, self.low, self.high]).all(), self
        assert self.low <= self.high, self


_MOST_NAMED = 12
_SMALLEST_DIGITS = 5.5
_DEEPEST = 0.65  # of the colour behind a number: the text stays legible, light and dark


def confusion(counts: np.ndarray, classes: Sequence[str], *, rates: bool) -> Markup:
    """A confusion matrix; rows are true classes, columns predicted ones.

    A square's depth and size are the share of the true class. Its number is a count, or with `rates` that share in
    percent, and a row tells its clips. Of more than 12 classes the columns have numbers in place of names; where not
    even the squares' numbers fit there are none.

    Args:
        counts: Clips, int `(K, K)`, K ≥ 1.
        classes: K names.
        rates: Whether the numbers are shares in percent rather than counts.
    """
    counts = np.asarray(counts)
    assert counts.shape == (len(classes), len(classes)), (counts.shape, len(classes))
    assert (counts >= 0).all(), "a count below 0"
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    numbers = np.rint(100 * shares).astype(int) if rates else counts
    many = len(classes) > _MOST_NAMED
    width = PLOT_WIDTH + many
    names = [display_name(name, 22) for name in classes]
    # What is left beside the names of the rows.
    column = (width * UNITS_PER_INCH - 24 - 5.6 * (max(map(len, names)) + 4 * many)) / len(classes)
    row = min(column, 32) if not many else max(column, 11)
    digits = min(9.5, 0.9 * column / (0.64 * len(str(numbers.max()))))
    with plot_style():
        figure = Figure(
            figsize=(width, (row * len(classes) + (30 if many else 20 + 5.2 * max(map(len, names)))) / UNITS_PER_INCH)
        )
        axes = figure.subplots()
        axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        places = [str(place) for place in range(1, len(classes) + 1)]
        if many:
            axes.set_xticks(range(len(classes)), places, rotation=90, fontsize=min(8, 0.9 * column))
            names = [f"{name}  {place}" for name, place in zip(names, places, strict=True)]
        else:
            axes.set_xticks(range(len(classes)), names, rotation=90)
            names = [f"{name} ({clips})" for name, clips in zip(names, support, strict=True)] if rates else names
        axes.set_yticks(range(len(classes)), names, fontsize=9 - 0.5 * many)
        numbered = digits >= _SMALLEST_DIGITS
        axes.set(xlabel="predicted" if numbered else "predicted (squares: share of the true class)", ylabel="true")
        for (true, predicted), share in np.ndenumerate(shares):
            _square(axes, predicted, true, share)
            if counts[true, predicted] and numbered:
                weight = "bold" if true == predicted else "normal"
                text = axes.text(predicted, true, str(numbers[true, predicted]), fontsize=digits, fontweight=weight)
                text.set(ha="center", va="center_baseline")
        told = "percent of the true class" if rates else "clips"
        return inline_svg(figure, f"Confusion matrix in {told}; classes: {len(classes)}")


def _square(axes: Axes, x: int, y: int, share: float) -> None:
    """A frame on the diagonal or where there are clips; within it as large and as deep a square as the share."""
    if x == y:
        axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor=MUTED, linewidth=0.6))
    elif not share:
        return
    side = 0.92 * max(0.45, np.sqrt(share))
    depth = _DEEPEST * (0.35 + 0.65 * share)
    if share:
        axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, color=to_rgba(BAR, depth), linewidth=0))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How sure a model is and how often right."""

    bins: tuple[ReliabilityBin, ...]
    ece: float
    """Expected calibration error, 0 … 1."""


def reliability(before: Calibration, after: Calibration) -> Markup:
    """Accuracy over confidence before and after calibration, and the clips of each bin (Guo et al. 2017, ICML).

    Error bars are the bins' Wilson intervals. What lies below the diagonal is surer than it is right.
    """
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 5.2))
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="as right as it is sure")
        looks = (("before", before, VERMILION, "o", "none", -0.22), ("after", after, BLUE, "s", BLUE, 0.22))
        for name, calibration, colour, marker, face, shift in looks:
            bins = [each for each in calibration.bins if each.clips]
            assert bins, f"no clips {name} calibration"
            intervals = [wilson_interval(each.right, each.clips) for each in bins]
            confidence = [each.confidence for each in bins]
            upper.vlines(confidence, *zip(*intervals, strict=True), color=colour, linewidth=1.2)
            upper.plot(
                confidence,
                [each.accuracy for each in bins],
                color=colour,
                marker=marker,
                markerfacecolor=face,
                linestyle="--" if face == "none" else "-",
                label=f"{name}: ECE {calibration.ece:.3f}",
            )
            centres = [(each.low + each.high) / 2 + shift * (each.high - each.low) for each in calibration.bins]
            widths = [0.4 * (each.high - each.low) for each in calibration.bins]
            heights = [each.clips for each in calibration.bins]
            lower.bar(centres, heights, widths, facecolor=face, edgecolor=colour, linewidth=1)
        upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share that is right")
        upper.grid()
        figure.legend(loc="outside upper left", ncols=2)
        lower.set(xlabel="confidence", ylabel="clips")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        told = f"before {before.ece:.3f}, after {after.ece:.3f}"
        return inline_svg(figure, f"Reliability diagram; expected calibration error {told}")


@dataclass(frozen=True, slots=True)
class RiskCurve:
    """The risk of a split at all coverages."""

    name: str
    points: tuple[RiskCoveragePoint, ...]


def risk_coverage(curves: Sequence[RiskCurve], threshold: float | None) -> Markup:
    """Selective risk over coverage, a line a split, the chosen threshold marked (Geifman & El-Yaniv 2017, NeurIPS).

    `threshold` is the chosen confidence; None where none was chosen.
    """
    assert curves, "no curves"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 3.6))
        axes = figure.subplots()
        for index, curve in enumerate(curves):
            points = sorted(curve.points, key=lambda point: point.coverage)
            assert points, f"no points of {curve.name}"
            look = series_style(index)
            marker = look.pop("marker")
            xs, ys = [100 * point.coverage for point in points], [100 * point.risk for point in points]
            axes.plot(xs, ys, **look, label=display_name(curve.name), marker=marker if len(points) == 1 else "")
            chosen = [point for point in points if threshold is not None and point.threshold >= threshold]
            if chosen:
                coverage, risk = 100 * chosen[-1].coverage, 100 * chosen[-1].risk
                text = f"{display_name(curve.name)} from {threshold:.2f}: {risk:.1f} % wrong of {coverage:.0f} %"
                (dot,) = axes.plot(coverage, risk, color=look["color"], linestyle="", label=text, zorder=5)
                dot.set(marker=marker, markersize=9, markeredgecolor=INK)
        axes.set(xlabel="labelled, % of clips", ylabel="wrong, % of these", xlim=(0, 102))
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
        axes.grid()
        figure.legend(loc="outside upper left", ncols=1)
        names = " and ".join(curve.name for curve in curves)
        return inline_svg(figure, f"Selective risk over coverage, {names}")


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An architecture's accuracy, 0 … 1, on the frames in their order, in another, and on one frame alone."""

    name: str
    ordered: Estimate
    shuffled: Estimate
    reversed: Estimate
    single: Estimate


_CHANCE: dict[str, Any] = {"color": INK, "linestyle": ":", "linewidth": 1.2}
_ORDERS = (("ordered", BLUE, "o"), ("reversed", GREEN, "D"), ("shuffled", VERMILION, "s"), ("single", MUTED, "X"))


def frame_order(rows: Sequence[OrderRow], chance: float | None) -> Markup:
    """Accuracy under each order of frames, a group of dots with intervals an architecture.

    `chance` is the accuracy of guessing, 0 … 1; None draws no line.
    """
    assert rows, "no architectures"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 1.0 + 0.62 * len(rows)))
        axes = figure.subplots()
        for place, (order, colour, marker) in enumerate(_ORDERS):
            estimates = [getattr(row, order) for row in rows]
            heights = np.arange(len(rows)) + (place - 1.5) * 0.2
            text = "single frame" if order == "single" else order
            _dots(axes, estimates, heights, colour, marker, text)
        label_rows(axes, [row.name for row in rows], 24, lines=True)
        if chance is not None:
            axes.axvline(100 * chance, **_CHANCE, label=f"chance, {100 * chance:.1f} %")
        axes.set_xlabel("accuracy, %")
        figure.legend(loc="outside upper left", ncols=3)
        return inline_svg(figure, f"Accuracy by order of frames; architectures: {len(rows)}")


def _dots(axes: Axes, estimates: Sequence[Estimate], heights: np.ndarray, color: str, marker: str, label: str) -> None:
    """Dots with horizontal intervals, in percent."""
    axes.hlines(heights, *_bounds(estimates), color=color, linewidth=1.4)
    axes.plot([100 * each.value for each in estimates], heights, color=color, marker=marker, linestyle="", label=label)


def _bounds(estimates: Sequence[Estimate]) -> tuple[list[float], list[float]]:
    return [100 * each.low for each in estimates], [100 * each.high for each in estimates]


@dataclass(frozen=True, slots=True)
class FrameCurve:
    """An architecture's accuracy, 0 … 1, by the number of frames it sees."""

    name: str
    frames: tuple[int, ...]
    accuracy: tuple[Estimate, ...]
    """One for each number of frames."""


def over_frames(rows: Sequence[FrameCurve], chance: float | None) -> Markup:
    """Accuracy over the number of frames, a line with intervals an architecture; `chance` as in `frame_order`."""
    assert rows, "no architectures"
    counts = sorted({frames for row in rows for frames in row.frames})
    lines = -(-len(rows) // 2)
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 3.2 + 0.18 * lines))
        axes = figure.subplots()
        for index, row in enumerate(rows):
            assert len(row.frames) == len(row.accuracy) > 0, row.name
            # A little aside, so that no interval hides another's.
            xs = np.array(row.frames) * 1.025 ** (index - (len(rows) - 1) / 2)
            look = series_style(index)
            axes.plot(xs, [100 * each.value for each in row.accuracy], **look, label=display_name(row.name, 24))
            axes.vlines(xs, *_bounds(row.accuracy), color=look["color"], linewidth=1.2)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(counts if len(counts) <= 8 else counts[:: -(-len(counts) // 8)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlim(counts[0] / 1.15, counts[-1] * 1.15)
        if chance is not None:
            axes.axhline(100 * chance, **_CHANCE, label=f"chance, {100 * chance:.1f} %")
        axes.set(xlabel="frames", ylabel="accuracy, %")
        axes.grid()
        figure.legend(loc="outside upper left", ncols=2)
        return inline_svg(figure, f"Accuracy over the number of frames; architectures: {len(rows)}")


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How one class was told from the others; scores are 0 … 1."""

    name: str
    precision: float
    recall: Estimate
    f1: float
    support: int
    """Clips that are of the class."""
    rare: bool
    """Too few clips to say much."""


def per_class(rows: Sequence[ClassRow]) -> Markup:
    """Precision, recall and F1 of each class, with recall's interval; clips at the side, rare classes so called."""
    assert rows, "no classes"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 1.0 + 0.3 * len(rows)))
        axes = figure.subplots()
        heights = np.arange(len(rows))
        _dots(axes, [row.recall for row in rows], heights, BLUE, "o", "recall, 95 %")
        for name, values, colour, marker, shift in (
            ("precision", [row.precision for row in rows], VERMILION, "^", 0.2),
            ("F1", [row.f1 for row in rows], INK, "|", 0),
        ):
            (dots,) = axes.plot(
                [100 * value for value in values], heights + shift, color=colour, marker=marker, label=name
            )
            dots.set(linestyle="", markersize=9 if marker == "|" else 6, markeredgewidth=1.8)
        label_rows(axes, [row.name for row in rows], 24, lines=True)
        axes.set(xlim=(-2, 102), xlabel="%")
        for place, row in enumerate(rows):
            text = f"{row.support} rare" if row.rare else str(row.support)
            annotate_row(axes, place, text, fontweight="bold" if row.rare else "normal")
        annotate_row(axes, -0.75, "clips", color=MUTED)
        figure.legend(loc="outside upper left", ncols=3)
        return inline_svg(figure, f"Precision, recall and F1 by class; classes: {len(rows)}")
