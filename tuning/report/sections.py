"""Which plots the report shows, by section of the page and in order.

To add a plot, list its function here: `page.html.j2` shows all plots of a section. The section on balancing shows one
plot per comparison, see `page`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tuning.report.findings import SweepFindings
from tuning.report.plots.base import ReportPlot
from tuning.report.plots.confusion import confusion_counts_plot, confusion_rates_plot
from tuning.report.plots.frame_count import frame_count_plot
from tuning.report.plots.frame_order import frame_order_plot
from tuning.report.plots.importance import importance_plot
from tuning.report.plots.learning_curves import learning_curves_plot
from tuning.report.plots.parallel_coordinates import parallel_coordinates_plot
from tuning.report.plots.pareto import pareto_flops_plot, pareto_seconds_plot
from tuning.report.plots.per_class import per_class_plot
from tuning.report.plots.reliability import reliability_plot
from tuning.report.plots.risk_coverage import risk_coverage_plot
from tuning.report.plots.time_shares import time_shares_plot

PlotFunction = Callable[[SweepFindings], ReportPlot | None]
"""Makes one plot; returns None if the sweep has too few trials or clips for it."""

SECTIONS: Mapping[str, tuple[PlotFunction, ...]] = {
    "champion": (per_class_plot, confusion_counts_plot, confusion_rates_plot, reliability_plot, risk_coverage_plot),
    "trials": (
        parallel_coordinates_plot,
        importance_plot,
        learning_curves_plot,
        pareto_seconds_plot,
        pareto_flops_plot,
    ),
    "time": (frame_order_plot, frame_count_plot),
    "provenance": (time_shares_plot,),
}


def draw_sections(findings: SweepFindings) -> dict[str, list[ReportPlot]]:
    """Return the plots of each section."""
    return {
        name: [plot for function in functions if (plot := function(findings)) is not None]
        for name, functions in SECTIONS.items()
    }
