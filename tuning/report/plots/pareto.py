"""Score of each trial against its cost, in training time or in FLOPs, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox, blended_transform_factory

from data.plot import BLUE, INK, MUTED, PLOT_WIDTH, UNITS_PER_INCH, display_name, inline_svg, plot_style
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import MANY_TRIALS, Estimate, ReportPlot


@dataclass(frozen=True, slots=True)
class CostPoint:
    """A trial's score and cost."""

    label: str
    cost: float
    """Above 0."""
    score: Estimate


def pareto_seconds_plot(findings: SweepFindings) -> ReportPlot | None:
    """Plot score against seconds of training; None with fewer than two scored trials."""
    costs = {row.id: row.seconds for row in findings.trials}
    plotted = _plot(findings, costs, "seconds of training", column="seconds of training")
    return plotted and ReportPlot("pareto_seconds", "Score against training time", *plotted)


def pareto_flops_plot(findings: SweepFindings) -> ReportPlot | None:
    """Plot score against GFLOPs per clip; None with fewer than two scored trials."""
    costs = {trial: flops / 1e9 for trial, flops in findings.flops.items()}
    plotted = _plot(findings, costs, "GFLOPs per clip", column="GFLOPs a clip")
    return plotted and ReportPlot("pareto_flops", "Score against computation", *plotted)


def _plot(
    findings: SweepFindings, costs: Mapping[str, float], x_label: str, *, column: str
) -> tuple[Markup, pd.DataFrame] | None:
    """Return the plot and its data; `costs` are by the trial's ID, `column` is their name in the data."""
    points = {
        row.id: CostPoint(row.title, costs[row.id], Estimate.of(getattr(row, findings.metric), interval))
        for row in findings.scored_trials
        if (interval := findings.score_interval(row)) is not None and costs[row.id] > 0
    }
    if len(points) < 2:
        return None
    table = pd.DataFrame(
        [
            {
                "trial": trial,
                column: point.cost,
                findings.metric: point.score.value,
                "low": point.score.low,
                "high": point.score.high,
            }
            for trial, point in points.items()
        ]
    )
    return draw_pareto(list(points.values()), x_label, findings.metric_title), table


def pareto_front(points: Sequence[CostPoint]) -> list[CostPoint]:
    """Return the points that no other point beats in cost or in score without losing in the other, cheapest first."""
    front: list[CostPoint] = []
    for point in sorted(points, key=lambda each: (each.cost, -each.score.value)):
        if not front or point.score.value > front[-1].score.value:
            front.append(point)
    return front


_MAX_LINEAR_RATIO = 20
"""Costs that span a larger factor are drawn on a log axis."""


def draw_pareto(points: Sequence[CostPoint], x_label: str, y_label: str = "score") -> Markup:
    """Draw score with its interval over cost; the trials on the Pareto front are numbered, and named below."""
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
            _draw_scores(axes, others, MUTED, "o", 0.5)
        _draw_scores(axes, front, BLUE, "D", 1)
        corners = [(point.cost, point.score.value) for point in front]
        corners.append((max(point.cost for point in points), corners[-1][1]))
        axes.step(*zip(*corners, strict=True), where="post", color=BLUE, linewidth=1.2, linestyle="--")
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.margins(x=0.08)
        axes.grid()
        _name_front(figure, names, front)
        _number_front(figure, axes, front)
        counts = f"trials: {len(points)}, on the Pareto front: {len(front)}"
        return inline_svg(figure, f"{y_label} over {x_label}; {counts}")


def _scale_costs(axes: Axes, costs: Sequence[float]) -> None:
    if max(costs) > _MAX_LINEAR_RATIO * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_number(value)))


def _draw_scores(axes: Axes, points: Sequence[CostPoint], colour: str, marker: str, alpha: float) -> None:
    many = len(points) >= MANY_TRIALS
    # One line with gaps for all intervals: a thousand SVG elements would slow the page down.
    gap = (math.nan, math.nan)
    ends = [end for each in points for end in ((each.cost, each.score.low), (each.cost, each.score.high), gap)]
    axes.plot(*zip(*ends, strict=True), color=colour, alpha=alpha, linewidth=0.4 if many else 1.3)
    costs, scores = [each.cost for each in points], [each.score.value for each in points]
    (dots,) = axes.plot(costs, scores, color=colour, alpha=alpha, linestyle="")
    dots.set(marker=marker, markersize=3 if many else 6)


def _name_front(figure: Figure, axes: Axes, front: Sequence[CostPoint]) -> None:
    """Write number, name, score and cost of each point, from the left edge of the figure."""
    axes.set(xlim=(0, 1), ylim=(len(front), 0))
    axes.set_axis_off()
    left = blended_transform_factory(figure.transFigure, axes.transData)
    for index, point in enumerate(front):
        text = f"{index + 1}. {display_name(point.label, 44)}: {point.score.value:.3f} at {_short_number(point.cost)}"
        axes.text(0.01, index + 0.5, text, va="center", fontsize=9, transform=left, in_layout=False)


def _short_number(value: float) -> str:
    """Return a number with a metric prefix: `1.2 k`, `3.4 G`."""
    power = min(5, max(0, math.floor(math.log10(abs(value)) / 3))) if value else 0
    return f"{value / 1000**power:.3g}{' ' * (power > 0)}{['', 'k', 'M', 'G', 'T', 'P'][power]}"


def _number_front(figure: Figure, axes: Axes, front: Sequence[CostPoint]) -> None:
    """Write each point's number close to it, where it covers no other number and no point of the front."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # keeps the layout in which the numbers are placed
    centres = axes.transData.transform([(point.cost, point.score.value) for point in front])
    unit = figure.dpi / UNITS_PER_INCH
    taken = [Bbox.from_bounds(x - 4 * unit, y - 4 * unit, 8 * unit, 8 * unit) for x, y in centres]
    for index, (x, y) in enumerate(centres):
        boxes = _label_boxes(x, y, len(str(index + 1)), unit)
        box = next((each for each in boxes if each.count_overlaps(taken) == 0), boxes[0])
        taken.append(box)
        target = (box.x0 + box.width / 2, box.y0 + box.height / 2)
        axes.annotate(
            str(index + 1),
            (front[index].cost, front[index].score.value),
            tuple(axes.transData.inverted().transform(target)),
            ha="center",
            va="center",
            fontsize=10,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 5, "shrinkB": 3},
        )


def _label_boxes(x: float, y: float, digits: int, unit: float) -> list[Bbox]:
    """Return where a number may stand around the point `(x, y)`, the nearest boxes first, in pixels."""
    width, height = 6.5 * unit * digits, 10 * unit
    return [
        Bbox.from_bounds(
            x + radius * unit * math.cos(angle) - width / 2,
            y + radius * unit * math.sin(angle) - height / 2,
            width,
            height,
        )
        for radius in (12, 20, 28, 38, 50)
        for angle in np.radians([125, 55, 180, 0, 235, 305, 90, 270])
    ]
