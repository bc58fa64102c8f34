"""Validation accuracy of each architecture by the number of frames per clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from data.plot import PLOT_WIDTH, display_name, inline_svg, plot_style, series_style
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import Estimate, ReportPlot, percent_bounds
from tuning.search.trial_result import TrialResult


@dataclass(frozen=True, slots=True)
class FrameCountCurve:
    """An architecture's accuracy, 0 to 1, by the number of frames."""

    name: str
    frames: tuple[int, ...]
    accuracy: tuple[Estimate, ...]
    """One per number of frames."""


def frame_count_plot(findings: SweepFindings) -> ReportPlot | None:
    """Plot the best trial of each architecture at each number of frames; None if all trials have the same number."""
    best: dict[tuple[str, int], TrialResult] = {}
    for row in findings.scored_trials:
        if row.intervals is not None:
            best.setdefault((row.arch, row.choice["num_frames"]), row)
    if len({frames for _, frames in best}) < 2:
        return None
    curves = []
    for arch in dict.fromkeys(arch for arch, _ in best):
        counts = sorted(frames for name, frames in best if name == arch)
        accuracy = [
            Estimate.of(row.val_accuracy, row.intervals.accuracy)
            for row in (best[arch, frames] for frames in counts)
            if row.intervals is not None
        ]
        curves.append(FrameCountCurve(arch, tuple(counts), tuple(accuracy)))
    table = pd.DataFrame(
        [
            {"arch": arch, "frames": frames, "trial": row.id, "val_accuracy": row.val_accuracy}
            for (arch, frames), row in sorted(best.items(), key=lambda item: item[0])
        ]
    )
    note = "The best trial of each architecture at each number of frames, trials that were stopped early included."
    svg = draw_frame_count(curves)
    return ReportPlot("over_frames", "Validation accuracy by number of frames", svg, table, note)


def draw_frame_count(curves: Sequence[FrameCountCurve]) -> Markup:
    """Draw accuracy over the number of frames, one line with intervals per architecture."""
    assert curves, "no architectures"
    counts = sorted({frames for curve in curves for frames in curve.frames})
    legend_rows = -(-len(curves) // 2)
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 3.2 + 0.18 * legend_rows))
        axes = figure.subplots()
        for index, curve in enumerate(curves):
            assert len(curve.frames) == len(curve.accuracy) > 0, curve.name
            # Shifted a little to the side, so that no interval hides another.
            xs = np.array(curve.frames) * 1.025 ** (index - (len(curves) - 1) / 2)
            style = series_style(index)
            axes.plot(xs, [100 * each.value for each in curve.accuracy], **style, label=display_name(curve.name, 24))
            axes.vlines(xs, *percent_bounds(curve.accuracy), color=style["color"], linewidth=1.2)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(counts if len(counts) <= 8 else counts[:: -(-len(counts) // 8)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlim(counts[0] / 1.15, counts[-1] * 1.15)
        axes.set(xlabel="frames", ylabel="accuracy, %")
        axes.grid()
        figure.legend(loc="outside upper left", ncols=2)
        return inline_svg(figure, f"Accuracy over the number of frames; architectures: {len(curves)}")
