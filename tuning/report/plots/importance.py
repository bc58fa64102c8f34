"""Which axes of the space mattered: each axis's share of the variance between trials."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from data.plot import BAR, INK, PLOT_WIDTH, annotate_row, inline_svg, label_rows, plot_style
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import Estimate, LabelledEstimate, ReportPlot
from tuning.search.titles import axis_title


def importance_plot(findings: SweepFindings) -> ReportPlot | None:
    """Plot the importance of each axis; None with too few trials."""
    if not findings.importance:
        return None
    rows = [
        LabelledEstimate(axis_title(one.axis), Estimate(one.share, one.low, one.high)) for one in findings.importance
    ]
    table = pd.DataFrame(
        [{"axis": one.axis, "share": one.share, "low": one.low, "high": one.high} for one in findings.importance]
    )
    note = (
        "Share of the variance between trials that each axis explains (fANOVA); bars span five forests. Trials that "
        "were stopped early count with the score they had."
    )
    return ReportPlot("importance", "Which settings mattered", draw_importance(rows, "share of variance"), table, note)


def draw_importance(rows: Sequence[LabelledEstimate], x_label: str = "importance") -> Markup:
    """Draw one bar per axis in the order given, with an error bar and its value."""
    assert rows, "no axes"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 0.6 + 0.3 * len(rows)))
        axes = figure.subplots()
        values = [row.estimate.value for row in rows]
        heights = range(len(rows))
        axes.barh(heights, values, 0.62, color=BAR, alpha=0.75)
        axes.hlines(heights, [row.estimate.low for row in rows], [row.estimate.high for row in rows], color=INK)
        for bound in ("low", "high"):
            bounds = [getattr(row.estimate, bound) for row in rows]
            axes.plot(bounds, heights, color=INK, marker="|", linestyle="")
        for height, value in zip(heights, values, strict=True):
            annotate_row(axes, height, f"{value:.2f}")
        label_rows(axes, [row.label for row in rows], 30)
        axes.set_xlabel(x_label)
        return inline_svg(figure, f"{x_label} by axis; axes: {len(rows)}")
