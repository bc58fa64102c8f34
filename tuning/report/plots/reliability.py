"""Are the champion's probabilities calibrated? Accuracy over confidence, before and after the temperature."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.intervals import wilson_interval
from data.plot import BLUE, MUTED, PLOT_WIDTH, VERMILION, inline_svg, plot_style
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import ReportPlot
from tuning.training.calibration import ReliabilityBin, expected_calibration_error


def reliability_plot(findings: SweepFindings) -> ReportPlot:
    """Plot the reliability diagram of the test clips."""
    test = findings.test_reliability
    table = pd.DataFrame(
        [
            {"side": side, "low": b.low, "high": b.high, "confidence": b.confidence, "right": b.right, "clips": b.clips}
            for side, bins in {"before": test.before, "after": test.after}.items()
            for b in bins
        ]
    )
    calibration = findings.calibration
    note = f"Temperature {calibration.temperature:.2f}, fitted on {calibration.clips} validation clips."
    svg = draw_reliability(test.before, test.after)
    return ReportPlot("reliability", "Are the probabilities calibrated?", svg, table, note)


def draw_reliability(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> Markup:
    """Draw accuracy over confidence before and after calibration, and the clips of each bin (Guo et al. 2017, ICML).

    The error bars are the bins' 95 % Wilson intervals. Below the diagonal the model is overconfident.
    """
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 5.2))
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linestyle=":", label="perfectly calibrated")
        _draw_bins(upper, lower, "before", before, VERMILION)
        _draw_bins(upper, lower, "after", after, BLUE)
        upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="accuracy")
        upper.grid()
        figure.legend(loc="outside upper left", ncols=2)
        lower.set(xlabel="confidence", ylabel="clips")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        errors = " and ".join(
            f"{expected_calibration_error(tuple(bins)):.3f} {name}"
            for name, bins in (("before", before), ("after", after))
        )
        return inline_svg(figure, f"Reliability diagram; expected calibration error {errors} calibration")


def _draw_bins(upper: Axes, lower: Axes, name: str, all_bins: Sequence[ReliabilityBin], colour: str) -> None:
    bins = [each for each in all_bins if each.clips]
    assert bins, f"no clips {name} calibration"
    after = name == "after"
    face = colour if after else "none"
    intervals = [wilson_interval(each.right, each.clips) for each in bins]
    confidence = [each.confidence for each in bins]
    upper.vlines(confidence, *zip(*intervals, strict=True), color=colour, linewidth=1.2)
    upper.plot(
        confidence,
        [each.accuracy for each in bins],
        color=colour,
        marker="s" if after else "o",
        markerfacecolor=face,
        linestyle="-" if after else "--",
        label=f"{name}: ECE {expected_calibration_error(tuple(bins)):.3f}",
    )
    # The two bars of a bin stand side by side.
    shift = 0.22 if after else -0.22
    centres = [(each.low + each.high) / 2 + shift * (each.high - each.low) for each in bins]
    widths = [0.4 * (each.high - each.low) for each in bins]
    lower.bar(centres, [each.clips for each in bins], widths, facecolor=face, edgecolor=colour, linewidth=1)
