"""Where the time went: of the whole sweep, and of the slowest trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from data.plot import (
    BACKGROUND,
    BLUE,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PLOT_WIDTH,
    PURPLE,
    SKY,
    VERMILION,
    annotate_row,
    display_name,
    inline_svg,
    label_rows,
    plot_style,
)
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import ReportPlot
from tuning.training.timing import PHASES

_TITLES = {
    "start": "starting",
    "wait": "waiting for frames",
    "copy": "copying to device",
    "vary": "augmenting",
    "train": "forward, backward",
    "val": "validating",
    "save": "saving",
    "report": "reporting",
}
"""Title of each kind of time, also the name of its column in the data."""

_MAX_TRIALS = 8


@dataclass(frozen=True, slots=True)
class TimeRow:
    """Where the time of one trial, or of the whole sweep, went."""

    name: str
    seconds: tuple[float, ...]
    """One per kind."""


def time_shares_plot(findings: SweepFindings) -> ReportPlot | None:
    """Plot the time of the sweep and of its slowest trials by kind; None if no trial finished an epoch."""
    trials = [row for row in findings.trials if row.history]
    if not trials:
        return None
    seconds = {row.id: findings.seconds(row) for row in trials}
    decoding = sum(process.seconds_decoding for process in findings.processes)
    kinds = ["decoding", *(_TITLES[kind] for kind in PHASES)]
    whole = [decoding, *(sum(each[kind] for each in seconds.values()) for kind in PHASES)]
    slowest = sorted(trials, key=lambda row: -row.seconds)[:_MAX_TRIALS]
    rows = [
        TimeRow("the sweep", tuple(whole)),
        *(TimeRow(row.title, (0.0, *(seconds[row.id][kind] for kind in PHASES))) for row in slowest),
    ]
    table = pd.DataFrame(
        [
            {"of": "the sweep", **dict(zip(kinds, whole, strict=True))},
            *({"of": row.id, **{_TITLES[kind]: seconds[row.id][kind] for kind in PHASES}} for row in trials),
        ]
    )
    note = f"Seconds of all trials added up, and of the {len(slowest)} slowest trials." if len(slowest) > 1 else ""
    return ReportPlot("time_shares", "Where the time went", draw_time_shares(rows, kinds), table, note)


_FILLS = (
    (BLUE, ""),
    (ORANGE, "///"),
    (GREEN, "\\\\\\"),
    (PURPLE, "|||"),
    (SKY, "---"),
    (VERMILION, "xxx"),
    (MUTED, "+++"),
    (LINE, ""),
    (INK, ""),
)
"""Colour and hatch of each kind."""


def draw_time_shares(rows: Sequence[TimeRow], kinds: Sequence[str]) -> Markup:
    """Draw a bar of 100 % per row, split by kind in the order of `kinds` (at most 9), with its total at the side."""
    assert rows, "no times"
    assert 0 < len(kinds) <= len(_FILLS), kinds
    assert all(len(row.seconds) == len(kinds) for row in rows), "a row needs the seconds of each kind"
    seconds = np.array([row.seconds for row in rows], dtype=float)
    assert (seconds >= 0).all(), "seconds below 0"
    shares = 100 * seconds / np.maximum(seconds.sum(axis=1, keepdims=True), 1e-12)
    with plot_style():
        figure = Figure(figsize=(PLOT_WIDTH, 0.9 + 0.18 * -(-len(kinds) // 3) + 0.34 * len(rows)))
        axes = figure.subplots()
        left = np.zeros(len(rows))
        for kind, share, (colour, hatch) in zip(kinds, shares.T, _FILLS, strict=False):
            style: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": BACKGROUND, "linewidth": 0.8}
            axes.barh(range(len(rows)), share, 0.7, left, **style, label=display_name(kind, 18))
            left += share
        for number, row in enumerate(rows):
            annotate_row(axes, number, _duration(sum(row.seconds)))
        label_rows(axes, [row.name for row in rows], 26)
        axes.set(xlim=(0, 100), xlabel="% of the time")
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.4, handleheight=1.0)
        return inline_svg(figure, f"Shares of time by {', '.join(kinds)}")


def _duration(seconds: float) -> str:
    """Return seconds in a readable unit: `45 s`, `12.5 min`, `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 100 * 60 else f"{seconds / 3600:.3g} h"
