"""Validation score of each trial by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.plot import INK, MUTED, PLOT_WIDTH, VERMILION, display_name, inline_svg, plot_style
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import MANY_TRIALS, ReportPlot


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """One trial's validation score by epoch."""

    name: str
    epochs: tuple[int, ...]
    scores: tuple[float, ...]
    """One per epoch."""
    stopped: bool = False
    """Whether it was stopped early, by the scheduler or by `train.patience`."""
    champion: bool = False


def learning_curves_plot(findings: SweepFindings) -> ReportPlot | None:
    """Plot the learning curves of all trials; None if no trial finished an epoch."""
    rows = [row for row in findings.trials if row.history]
    if not rows:
        return None
    curves = [
        LearningCurve(
            row.title,
            tuple(range(1, len(row.history) + 1)),
            tuple(epoch[findings.metric] for epoch in row.history),
            row.status == "stopped",
            row.id == findings.champion.id,
        )
        for row in rows
    ]
    table = pd.DataFrame(
        [
            {"trial": row.id, "status": row.status, "epoch": number, **epoch}
            for row in rows
            for number, epoch in enumerate(row.history, 1)
        ]
    )
    svg = draw_learning_curves(curves, findings.metric_title)
    return ReportPlot("learning_curves", "Learning curves", svg, table)


def draw_learning_curves(trials: Sequence[LearningCurve], score: str) -> Markup:
    """Draw the score over epochs; trials that were stopped early end in a cross, the champion is on top."""
    assert trials, "no trials"
    for trial in trials:
        assert len(trial.epochs) == len(trial.scores) > 0, trial.name
        assert np.isfinite(trial.scores).all(), trial.name
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 3.6))
        axes = figure.subplots()
        _draw_others(axes, [trial for trial in trials if not trial.champion])
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


def _draw_others(axes: Axes, trials: Sequence[LearningCurve]) -> None:
    if not trials:
        return
    many = len(trials) >= MANY_TRIALS
    # One line with gaps: a thousand SVG elements would slow the page down.
    gap = (math.nan, math.nan)
    points = [point for trial in trials for point in (*zip(trial.epochs, trial.scores, strict=True), gap)]
    label = f"{len(trials)} trial{'s' * (len(trials) > 1)}"
    (lines,) = axes.plot(*zip(*points, strict=True), color=MUTED, label=label)
    lines.set(linewidth=0.35 if many else 1, alpha=0.6 if many else 0.8)
    stopped = [trial for trial in trials if trial.stopped]
    # A line of one point is invisible.
    short = [trial for trial in trials if len(trial.epochs) == 1 and not trial.stopped]
    for ended, marker, text in ((stopped, "x", f"{len(stopped)} stopped early"), (short, ".", None)):
        if ended:
            ends = [trial.epochs[-1] for trial in ended], [trial.scores[-1] for trial in ended]
            (dots,) = axes.plot(*ends, color=INK, marker=marker, linestyle="", label=text)
            dots.set(alpha=0.4 if many else 0.9, markersize=2.5 if many else 6)
