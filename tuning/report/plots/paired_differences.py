"""A forest plot: the difference between two values of an axis in each pair of trials, and over all pairs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.plot import (
    BLUE,
    INK,
    LINE,
    PLOT_WIDTH,
    VERMILION,
    annotate_row,
    display_name,
    inline_svg,
    label_rows,
    plot_style,
)
from tuning.evaluation.paired import PairedComparison
from tuning.report.plots.base import Estimate, LabelledEstimate, ReportPlot
from tuning.training.bootstrap import Difference


def paired_differences_plot(comparison: PairedComparison) -> ReportPlot | None:
    """Plot the macro-F1 differences of one comparison; None without pairs."""
    if comparison.macro_f1 is None:
        return None
    svg = draw_paired_differences(
        [LabelledEstimate(pair.title, Estimate.of_difference(pair.macro_f1)) for pair in comparison.pairs],
        LabelledEstimate("all pairs", Estimate.of_difference(comparison.macro_f1)),
        favours=(comparison.first, comparison.second),
        x_label="macro-F1",
    )
    table = pd.DataFrame(
        [
            {
                "pair": pair.title,
                comparison.first: pair.first,
                comparison.second: pair.second,
                "epochs": pair.epochs,
                **_columns("macro_f1", pair.macro_f1),
                **_columns("rare_recall", pair.rare_recall),
                "only_first_right": pair.only_first,
                "only_second_right": pair.only_second,
                "mcnemar_p": pair.p_value,
            }
            for pair in comparison.pairs
        ]
    )
    title = f"{comparison.second} minus {comparison.first}"
    return ReportPlot(f"pairs_{comparison.axis}_{comparison.second}", title, svg, table)


def _columns(name: str, difference: Difference | None) -> dict[str, float]:
    if difference is None:
        return {}
    low, high = difference.interval.low, difference.interval.high
    return {name: difference.value, f"{name}_low": low, f"{name}_high": high}


def draw_paired_differences(
    pairs: Sequence[LabelledEstimate], overall: LabelledEstimate, *, favours: tuple[str, str], x_label: str
) -> Markup:
    """Draw each pair's difference with its interval, and the overall one as a diamond as wide as its interval.

    Args:
        pairs: at least one pair.
        overall: the difference over all pairs.
        favours: what differences below 0 favour, and what differences above 0 favour.
        x_label: the score whose difference is drawn.
    """
    assert pairs, "no pairs"
    estimates = [pair.estimate for pair in pairs]
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 1.1 + 0.27 * (len(pairs) + 1)))
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        _draw_pairs(axes, estimates)
        _draw_overall(axes, overall.estimate, len(pairs))
        for row, each in enumerate([*estimates, overall.estimate]):
            low, high = (round(bound, 2) + 0.0 for bound in (each.low, each.high))  # + 0.0 turns -0.0 into 0.0
            annotate_row(axes, row, f"{each.value:+.3f} [{low:+.2f}, {high:+.2f}]")
        label_rows(axes, [*(pair.label for pair in pairs), overall.label], 22)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        widest = 1.08 * max(max(abs(each.low), abs(each.high)) for each in [*estimates, overall.estimate])
        axes.set_xlim(-(widest or 1), widest or 1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, symmetric=True))
        axes.set_title(x_label, fontsize=10)
        _name_sides(axes, favours)
        total = overall.estimate
        text = f"pairs: {len(pairs)}, overall {total.value:+.3f}, {total.low:+.3f} to {total.high:+.3f}"
        return inline_svg(figure, f"{x_label}; {text}")


def _draw_pairs(axes: Axes, estimates: Sequence[Estimate]) -> None:
    rows = range(len(estimates))
    axes.hlines(rows, [each.low for each in estimates], [each.high for each in estimates], color=BLUE)
    axes.plot([each.value for each in estimates], rows, color=BLUE, marker="s", markersize=5, linestyle="")


def _draw_overall(axes: Axes, overall: Estimate, row: int) -> None:
    xs = [overall.low, overall.value, overall.high, overall.value]
    axes.fill(xs, [row, row - 0.3, row, row + 0.3], color=VERMILION)
    axes.axhline(row - 0.5, color=LINE, linewidth=1)


def _name_sides(axes: Axes, favours: tuple[str, str]) -> None:
    for x, side, arrow in ((0, "left", "← favours\n{}"), (1, "right", "favours →\n{}")):
        text = arrow.format(display_name(favours[x], 18))
        axes.annotate(text, (x, 0), (0, -18), "axes fraction", "offset points", ha=side, va="top", fontsize=9)
