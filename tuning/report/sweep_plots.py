"""The report's plots of a sweep: its trials, what they cost, what mattered, and where the time went.

All of them return an inline `<svg>` (see `data.plot`). A plot of a model's results is in `tuning.report.model_plots`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox, blended_transform_factory

from data.plot import (
    BACKGROUND,
    BAR,
    BLUE,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PLOT_WIDTH,
    PURPLE,
    SKY,
    UNITS_PER_INCH,
    VERMILION,
    annotate_row,
    display_name,
    inline_svg,
    label_rows,
    plot_style,
)
from tuning.report.model_plots import Estimate

_CROWD = 60
"""From so many trials on each is drawn thin."""

_GAP = (math.nan, math.nan)
"""Between the lines of several trials that are drawn as one."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A figure with its interval, and what it is of."""

    label: str
    estimate: Estimate


def importance(rows: Sequence[Labelled], x_label: str = "importance") -> Markup:
    """A bar an axis in the order given, with an error bar and its figure."""
    assert rows, "no axes"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 0.6 + 0.3 * len(rows)))
        axes = figure.subplots()
        values = [row.estimate.value for row in rows]
        places = range(len(rows))
        axes.barh(places, values, 0.62, color=BAR, alpha=0.75)
        axes.hlines(places, [row.estimate.low for row in rows], [row.estimate.high for row in rows], color=INK)
        for bound in ("low", "high"):
            bounds = [getattr(row.estimate, bound) for row in rows]
            axes.plot(bounds, places, color=INK, marker="|", linestyle="")
        for place, value in zip(places, values, strict=True):
            annotate_row(axes, place, f"{value:.2f}")
        label_rows(axes, [row.label for row in rows], 30)
        axes.set_xlabel(x_label)
        return inline_svg(figure, f"{x_label} by axis; axes: {len(rows)}")


@dataclass(frozen=True, slots=True)
class Curve:
    """One trial's validation score by epoch."""

    name: str
    epochs: tuple[int, ...]
    scores: tuple[float, ...]
    """One for each epoch."""
    stopped: bool = False
    """Early, by the scheduler or for want of progress."""
    champion: bool = False


def learning_curves(trials: Sequence[Curve], score: str) -> Markup:
    """Validation score over epochs of all trials; those stopped early end in a cross, the champion is on top."""
    assert trials, "no trials"
    for trial in trials:
        assert len(trial.epochs) == len(trial.scores) > 0, trial.name
        assert np.isfinite(trial.scores).all(), trial.name
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 3.6))
        axes = figure.subplots()
        _thin_curves(axes, [trial for trial in trials if not trial.champion])
        for trial in trials:
            if trial.champion:
                (line,) = axes.plot(trial.epochs, trial.scores, label=f"champion: {display_name(trial.name, 40)}")
                line.set(color=VERMILION, linewidth=2.6, marker="o", markersize=4, zorder=5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axes.set(xlabel="epoch", ylabel=score)
        axes.grid()
        figure.legend(loc="outside upper left", ncols=2)
        stopped = sum(trial.stopped for trial in trials)
        return inline_svg(figure, f"{score} over epochs; trials: {len(trials)}, stopped early: {stopped}")


def _thin_curves(axes: Axes, trials: Sequence[Curve]) -> None:
    if not trials:
        return
    crowd = len(trials) >= _CROWD
    # One line with gaps: a thousand elements would make the page slow.
    points = [point for trial in trials for point in (*zip(trial.epochs, trial.scores, strict=True), _GAP)]
    (lines,) = axes.plot(*zip(*points, strict=True), color=MUTED, label=f"{len(trials)} trial{'s' * (len(trials) > 1)}")
    lines.set(linewidth=0.35 if crowd else 1, alpha=0.6 if crowd else 0.8)
    stopped = [trial for trial in trials if trial.stopped]
    # A line of one point is not seen.
    short = [trial for trial in trials if len(trial.epochs) == 1 and not trial.stopped]
    for ended, marker, label in ((stopped, "x", f"{len(stopped)} stopped early"), (short, ".", None)):
        if ended:
            ends = [trial.epochs[-1] for trial in ended], [trial.scores[-1] for trial in ended]
            (dots,) = axes.plot(*ends, color=INK, marker=marker, linestyle="", label=label)
            dots.set(alpha=0.4 if crowd else 0.9, markersize=2.5 if crowd else 6)


@dataclass(frozen=True, slots=True)
class CostPoint:
    """A trial's score and what it costs."""

    label: str
    cost: float
    """Above 0."""
    score: Estimate


def pareto_front(points: Sequence[CostPoint]) -> list[CostPoint]:
    """Return the points of which no other is as good and cheaper, or as cheap and better; the cheapest first."""
    front: list[CostPoint] = []
    for point in sorted(points, key=lambda each: (each.cost, -each.score.value)):
        if not front or point.score.value > front[-1].score.value:
            front.append(point)
    return front


_WIDE = 20


def pareto(points: Sequence[CostPoint], x_label: str, y_label: str = "score") -> Markup:
    """Score with its interval over cost; those on the Pareto front are numbered and named beneath.

    The axis of costs is logarithmic where they span more than a factor of 20.
    """
    assert points, "no points"
    assert all(point.cost > 0 and math.isfinite(point.cost) for point in points), "a cost that is not above 0"
    front = pareto_front(points)
    others = [point for point in points if not any(point is each for each in front)]
    with plot_style():
        key = 0.2 * len(front) + 0.1
        figure = Figure(figsize=(PLOT_WIDTH, 3.3 + key))
        axes, names = figure.subplots(2, height_ratios=(3.3, key))
        _scale_costs(axes, [point.cost for point in points])
        if others:
            _score_dots(axes, others, MUTED, "o", 0.5)
        _score_dots(axes, front, BLUE, "D", 1)
        corners = [(point.cost, point.score.value) for point in front]
        corners.append((max(point.cost for point in points), corners[-1][1]))
        axes.step(*zip(*corners, strict=True), where="post", color=BLUE, linewidth=1.2, linestyle="--")
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.margins(x=0.08)
        axes.grid()
        _name_front(figure, names, front)
        _number_front(figure, axes, front)
        told = f"trials: {len(points)}, on the Pareto front: {len(front)}"
        return inline_svg(figure, f"{y_label} over {x_label}; {told}")


def _scale_costs(axes: Axes, costs: Sequence[float]) -> None:
    if max(costs) > _WIDE * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _score_dots(axes: Axes, points: Sequence[CostPoint], colour: str, marker: str, alpha: float) -> None:
    crowd = len(points) >= _CROWD
    # One line with gaps for all intervals: a thousand elements would make the page slow.
    ends = [end for each in points for end in ((each.cost, each.score.low), (each.cost, each.score.high), _GAP)]
    axes.plot(*zip(*ends, strict=True), color=colour, alpha=alpha, linewidth=0.4 if crowd else 1.3)
    costs, scores = [each.cost for each in points], [each.score.value for each in points]
    (dots,) = axes.plot(costs, scores, color=colour, alpha=alpha, linestyle="")
    dots.set(marker=marker, markersize=3 if crowd else 6)


def _name_front(figure: Figure, axes: Axes, front: Sequence[CostPoint]) -> None:
    """Number, name, score and cost of each, from the left edge of the figure on."""
    axes.set(xlim=(0, 1), ylim=(len(front), 0))
    axes.set_axis_off()
    left = blended_transform_factory(figure.transFigure, axes.transData)
    for place, point in enumerate(front):
        text = f"{place + 1}. {display_name(point.label, 44)}: {point.score.value:.3f} at {_short(point.cost)}"
        axes.text(0.01, place + 0.5, text, va="center", fontsize=9, transform=left, in_layout=False)


def _short(value: float) -> str:
    """A number with a prefix: 1.2 k, 3.4 G."""
    power = min(5, max(0, math.floor(math.log10(abs(value)) / 3))) if value else 0
    return f"{value / 1000**power:.3g}{' ' * (power > 0)}{['', 'k', 'M', 'G', 'T', 'P'][power]}"


def _number_front(figure: Figure, axes: Axes, front: Sequence[CostPoint]) -> None:
    """Write each point's number as near to it as no other number and no point of the front is."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what follows is placed in the layout as it is now
    middles = axes.transData.transform([(point.cost, point.score.value) for point in front])
    unit = figure.dpi / UNITS_PER_INCH
    taken = [Bbox.from_bounds(x - 4 * unit, y - 4 * unit, 8 * unit, 8 * unit) for x, y in middles]
    for place, (x, y) in enumerate(middles):
        width, height = 6.5 * unit * len(str(place + 1)), 10 * unit
        boxes = [
            Bbox.from_bounds(
                x + radius * unit * math.cos(angle) - width / 2,
                y + radius * unit * math.sin(angle) - height / 2,
                width,
                height,
            )
            for radius in (12, 20, 28, 38, 50)
            for angle in np.radians([125, 55, 180, 0, 235, 305, 90, 270])
        ]
        box = next((each for each in boxes if each.count_overlaps(taken) == 0), boxes[0])
        taken.append(box)
        target = (box.x0 + box.width / 2, box.y0 + box.height / 2)
        axes.annotate(
            str(place + 1),
            (front[place].cost, front[place].score.value),
            tuple(axes.transData.inverted().transform(target)),
            ha="center",
            va="center",
            fontsize=10,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 5, "shrinkB": 3},
        )


def paired_differences(
    pairs: Sequence[Labelled], overall: Labelled, *, favours: tuple[str, str], x_label: str
) -> Markup:
    """A forest plot: a difference with its interval a pair, and the overall one as a diamond as wide as its interval.

    Args:
        pairs: At least one.
        overall: Of all pairs.
        favours: What differences below 0 speak for, and what those above.
        x_label: What differs.
    """
    assert pairs, "no pairs"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 1.1 + 0.27 * (len(pairs) + 1)))
        axes = figure.subplots()
        places = range(len(pairs))
        estimates = [pair.estimate for pair in pairs]
        axes.axvline(0, color=INK, linewidth=1)
        axes.hlines(places, [each.low for each in estimates], [each.high for each in estimates], color=BLUE)
        axes.plot([each.value for each in estimates], places, color=BLUE, marker="s", markersize=5, linestyle="")
        all_of, last = overall.estimate, len(pairs)
        axes.fill(
            [all_of.low, all_of.value, all_of.high, all_of.value], [last, last - 0.3, last, last + 0.3], color=VERMILION
        )
        axes.axhline(last - 0.5, color=LINE, linewidth=1)
        for place, each in enumerate([*estimates, all_of]):
            low, high = (round(bound, 2) + 0.0 for bound in (each.low, each.high))  # no "-0.00"
            annotate_row(axes, place, f"{each.value:+.3f} [{low:+.2f}, {high:+.2f}]")
        label_rows(axes, [*(pair.label for pair in pairs), overall.label], 22)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        widest = 1.08 * max(max(abs(each.low), abs(each.high)) for each in [*estimates, all_of])
        axes.set_xlim(-(widest or 1), widest or 1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, symmetric=True))
        axes.set_title(x_label, fontsize=10)
        for x, side, text in ((0, "left", "← favours\n{}"), (1, "right", "favours →\n{}")):
            text = text.format(display_name(favours[x], 18))
            axes.annotate(text, (x, 0), (0, -18), "axes fraction", "offset points", ha=side, va="top", fontsize=9)
        told = f"pairs: {len(pairs)}, overall {all_of.value:+.3f}, {all_of.low:+.3f} to {all_of.high:+.3f}"
        return inline_svg(figure, f"{x_label}; {told}")


@dataclass(frozen=True, slots=True)
class TimeRow:
    """Where the time of one trial, or of the whole sweep, went."""

    name: str
    seconds: tuple[float, ...]
    """One for each kind."""


_FILLS = (
    (BLUE, ""),
    (ORANGE, "///"),
    (GREEN, "\\\\\\"),
    (PURPLE, "|||"),
    (SKY, "---"),
    (VERMILION, "xxx"),
    (MUTED, "+++"),
    (LINE, ""),
    (INK, ""),
)


def time_shares(rows: Sequence[TimeRow], kinds: Sequence[str]) -> Markup:
    """A bar of 100 % a row, split by kind in the order of `kinds`, 9 at most; all its time stands at the side."""
    assert rows, "no times"
    assert 0 < len(kinds) <= len(_FILLS), kinds
    assert all(len(row.seconds) == len(kinds) for row in rows), "a row needs the seconds of each kind"
    seconds = np.array([row.seconds for row in rows], dtype=float)
    assert (seconds >= 0).all(), "seconds below 0"
    shares = 100 * seconds / np.maximum(seconds.sum(axis=1, keepdims=True), 1e-12)
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 0.9 + 0.18 * -(-len(kinds) // 3) + 0.34 * len(rows)))
        axes = figure.subplots()
        left = np.zeros(len(rows))
        for kind, share, (colour, hatch) in zip(kinds, shares.T, _FILLS, strict=False):
            look: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": BACKGROUND, "linewidth": 0.8}
            axes.barh(range(len(rows)), share, 0.7, left, **look, label=display_name(kind, 18))
            left += share
        for place, row in enumerate(rows):
            annotate_row(axes, place, _duration(sum(row.seconds)))
        label_rows(axes, [row.name for row in rows], 26)
        axes.set(xlim=(0, 100), xlabel="% of the time")
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.4, handleheight=1.0)
        return inline_svg(figure, f"Shares of time by {', '.join(kinds)}")


def _duration(seconds: float) -> str:
    """Seconds for people: `45 s`, `12.5 min`, `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 100 * 60 else f"{seconds / 3600:.3g} h"
