"""Does time matter? Accuracy of each architecture on frames in order, reversed, shuffled, and on one frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from data.plot import BLUE, GREEN, INK, MUTED, PLOT_WIDTH, VERMILION, inline_svg, label_rows, plot_style
from tuning.evaluation.frame_order import NUM_SHUFFLES, Order, OrderProbe
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import Estimate, ReportPlot, plot_percent_dots

_STYLES: tuple[tuple[Order, str, str], ...] = (
    ("ordered", BLUE, "o"),
    ("reversed", GREEN, "D"),
    ("shuffled", VERMILION, "s"),
    ("single frame", MUTED, "X"),
)


def frame_order_plot(findings: SweepFindings) -> ReportPlot:
    """Plot the accuracy on the test clips with each order of the frames."""
    table = pd.DataFrame(
        [
            {
                "model": probe.title,
                "order": row.order,
                "accuracy": row.accuracy,
                "low": row.interval.low,
                "high": row.interval.high,
                "change": row.change.value if row.change else math.nan,
                "change_low": row.change.interval.low if row.change else math.nan,
                "change_high": row.change.interval.high if row.change else math.nan,
            }
            for probe in findings.probes
            for row in probe.rows
        ]
    )
    support = [row.support for row in findings.test.per_class.values()]
    majority = max(support) / sum(support)
    note = (
        "On the test clips, with 95 % intervals by group. Shuffled is the mean over "
        f"{NUM_SHUFFLES} permutations. Chance is the accuracy of always predicting the most frequent class."
    )
    svg = draw_frame_order(findings.probes, majority)
    return ReportPlot("frame_order", "Accuracy by order of frames", svg, table, note)


def draw_frame_order(probes: Sequence[OrderProbe], chance: float | None) -> Markup:
    """Draw the accuracy with each order of frames, one group of dots with intervals per architecture.

    Args:
        probes: one per architecture.
        chance: accuracy of guessing, 0 to 1, drawn as a line; None draws no line.
    """
    assert probes, "no architectures"
    names = [f"{probe.arch} (champion)" if probe.champion else probe.arch for probe in probes]
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 1.0 + 0.62 * len(probes)))
        axes = figure.subplots()
        for position, (order, colour, marker) in enumerate(_STYLES):
            rows = [probe.row(order) for probe in probes]
            estimates = [Estimate.of(row.accuracy, row.interval) for row in rows]
            heights = np.arange(len(probes)) + (position - 1.5) * 0.2
            plot_percent_dots(axes, estimates, heights, colour, marker, order)
        label_rows(axes, names, 24, lines=True)
        if chance is not None:
            axes.axvline(100 * chance, color=INK, linestyle=":", linewidth=1.2, label=f"chance, {100 * chance:.1f} %")
        axes.set_xlabel("accuracy, %")
        figure.legend(loc="outside upper left", ncols=3)
        return inline_svg(figure, f"Accuracy by order of frames; architectures: {len(probes)}")
