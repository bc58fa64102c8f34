"""How often is the champion wrong if it abstains on the clips with the lowest confidence?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from data.plot import INK, PLOT_WIDTH, display_name, inline_svg, plot_style, series_style
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import ReportPlot
from tuning.training.calibration import RiskCoveragePoint


def risk_coverage_plot(findings: SweepFindings) -> ReportPlot:
    """Plot the risk at each coverage, on the validation and the test clips."""
    curves = {"validation": findings.validation_reliability.risk, "test": findings.test_reliability.risk}
    table = pd.DataFrame(
        [
            {"split": name, "threshold": point.threshold, "coverage": point.coverage, "risk": point.risk}
            for name, points in curves.items()
            for point in points
        ]
    )
    svg = draw_risk_coverage(curves, findings.calibration.threshold)
    note = "Coverage is the share of clips that get an answer, risk the share of wrong answers among these."
    return ReportPlot("risk_coverage", "Wrong answers at each coverage", svg, table, note)


def draw_risk_coverage(curves: Mapping[str, Sequence[RiskCoveragePoint]], threshold: float | None) -> Markup:
    """Draw selective risk over coverage, one line per split (Geifman & El-Yaniv 2017, NeurIPS).

    Args:
        curves: the points of each split, by its name.
        threshold: the confidence below which the model abstains, marked on each line; None marks nothing.
    """
    assert curves, "no curves"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 3.6))
        axes = figure.subplots()
        for index, (name, unsorted) in enumerate(curves.items()):
            points = sorted(unsorted, key=lambda point: point.coverage)
            assert points, f"no points of {name}"
            style = series_style(index)
            marker = style.pop("marker")
            xs, ys = [100 * point.coverage for point in points], [100 * point.risk for point in points]
            axes.plot(xs, ys, **style, label=display_name(name, 24), marker=marker if len(points) == 1 else "")
            answered = [point for point in points if threshold is not None and point.threshold >= threshold]
            if answered:
                coverage, risk = 100 * answered[-1].coverage, 100 * answered[-1].risk
                result = f"{risk:.1f} % wrong at {coverage:.0f} % coverage"
                text = f"{display_name(name, 24)}, threshold {threshold:.2f}: {result}"
                (dot,) = axes.plot(coverage, risk, color=style["color"], linestyle="", label=text, zorder=5)
                dot.set(marker=marker, markersize=9, markeredgecolor=INK)
        axes.set(xlabel="coverage, % of clips", ylabel="risk, % wrong", xlim=(0, 102))
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]))
        axes.grid()
        figure.legend(loc="outside upper left", ncols=1)
        return inline_svg(figure, f"Selective risk over coverage, {' and '.join(curves)}")
