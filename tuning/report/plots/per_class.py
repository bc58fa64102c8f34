"""Precision, recall and F1 of each class on the test clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from data.plot import (
    BLUE,
    INK,
    MUTED,
    PLOT_WIDTH,
    VERMILION,
    annotate_row,
    inline_svg,
    label_rows,
    plot_style,
)
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import Estimate, ReportPlot, plot_percent_dots
from tuning.report.tables import class_table


@dataclass(frozen=True, slots=True)
class ClassRow:
    """The scores of one class, from 0 to 1."""

    name: str
    precision: float
    recall: Estimate
    f1: float
    support: int
    """Test clips of the class."""
    rare: bool
    """Whether it has few training clips."""


def per_class_plot(findings: SweepFindings) -> ReportPlot:
    """Plot the scores of each class on the test clips."""
    table = class_table(findings)
    rows = [
        ClassRow(
            row["class"],
            row["precision"],
            Estimate(row["recall"], row["recall_low"], row["recall_high"]),
            row["f1"],
            row["test_clips"],
            row["rare"],
        )
        for row in table.to_dict("records")
    ]
    return ReportPlot("per_class", "Scores of each class on the test clips", draw_per_class(rows), table)


def draw_per_class(rows: Sequence[ClassRow]) -> Markup:
    """Draw precision, recall with its interval, and F1 of each class; clips and a mark for rare classes at the side."""
    assert rows, "no classes"
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 1.0 + 0.3 * len(rows)))
        axes = figure.subplots()
        heights = np.arange(len(rows))
        plot_percent_dots(axes, [row.recall for row in rows], heights, BLUE, "o", "recall, 95 %")
        for name, values, colour, marker, shift in (
            ("precision", [row.precision for row in rows], VERMILION, "^", 0.2),
            ("F1", [row.f1 for row in rows], INK, "|", 0),
        ):
            (dots,) = axes.plot(
                [100 * value for value in values], heights + shift, color=colour, marker=marker, label=name
            )
            dots.set(linestyle="", markersize=9 if marker == "|" else 6, markeredgewidth=1.8)
        label_rows(axes, [row.name for row in rows], 24, lines=True)
        axes.set(xlim=(-2, 102), xlabel="%")
        for number, row in enumerate(rows):
            text = f"{row.support} rare" if row.rare else str(row.support)
            annotate_row(axes, number, text, fontweight="bold" if row.rare else "normal")
        annotate_row(axes, -0.75, "clips", color=MUTED)
        figure.legend(loc="outside upper left", ncols=3)
        return inline_svg(figure, f"Precision, recall and F1 by class; classes: {len(rows)}")
