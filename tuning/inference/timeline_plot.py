"""Plot a long video: its segments, and the probability of each class over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tuning.inference.output import ABSTAINED_TEXT, format_time
from tuning.inference.segments import PredictedTimeline, Segment

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#4d4d4d")
"""Distinguishable with colour blindness, after Okabe and Ito (2008); for the classes with the longest segments."""
_OTHER = "#c4c4c4"
_ABSTAINED_STYLE: dict[str, Any] = {"facecolor": "#f2f2f2", "edgecolor": "#b0b0b0", "hatch": "///", "linewidth": 0}
_LETTER_WIDTH = 0.011
"""Width of a letter, relative to that of the plot."""


def plot_timeline(
    timeline: PredictedTimeline,
    segments: Sequence[Segment],
    classes: Sequence[str],
    file: Path,
    *,
    title: str,
    threshold: float,
) -> None:
    """Write a PNG or SVG: bars of the segments above, the probabilities of the classes below.

    Args:
        timeline: the predictions on the video.
        segments: its segments.
        classes: K names.
        file: written; its suffix is `.png` or `.svg`.
        title: title of the plot.
        threshold: drawn as a dashed line, unless it is 0.
    """
    colours = _colours(segments, len(classes))
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 4])
    _draw_segments(upper, segments, classes, colours, timeline.edges[-1])
    upper.set_title(title, loc="left", fontsize=11, parse_math=False)
    _draw_probabilities(lower, timeline, classes, colours, threshold)
    lower.set_xlim(0, timeline.edges[-1])
    figure.savefig(file)


def _colours(segments: Sequence[Segment], num_classes: int) -> dict[int, str]:
    """Return colours of class indices: the classes with the longest segments get one each, as far as they go."""
    seconds = np.zeros(num_classes)
    for segment in segments:
        if not segment.abstained:
            seconds[int(segment.probabilities.argmax())] += segment.end - segment.start
    order = [int(index) for index in np.argsort(-seconds, kind="stable") if seconds[index] > 0]
    return dict(zip(order, _COLOURS, strict=False))


def _draw_segments(
    axes: Axes, segments: Sequence[Segment], classes: Sequence[str], colours: dict[int, str], duration: float
) -> None:
    for segment in segments:
        span = [(segment.start, segment.end - segment.start)]
        if segment.abstained:
            axes.broken_barh(span, (0, 1), **_ABSTAINED_STYLE)
            continue
        best = int(segment.probabilities.argmax())
        axes.broken_barh(span, (0, 1), facecolor=colours.get(best, _OTHER), edgecolor="white", linewidth=1)
        if len(classes[best]) * _LETTER_WIDTH * duration < segment.end - segment.start:
            middle = (segment.start + segment.end) / 2
            style: dict[str, Any] = {"ha": "center", "va": "center", "color": "white", "weight": "bold"}
            axes.text(middle, 0.5, classes[best], parse_math=False, **style)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.tick_params(bottom=False)
    axes.spines[:].set_visible(False)


def _draw_probabilities(
    axes: Axes, timeline: PredictedTimeline, classes: Sequence[str], colours: dict[int, str], threshold: float
) -> None:
    values = np.vstack([timeline.probabilities, timeline.probabilities[-1:]])
    for index in range(len(classes)):
        if index not in colours:
            axes.step(timeline.edges, values[:, index], where="post", color=_OTHER, linewidth=0.8)
    for index, colour in colours.items():
        label = _legend_text(classes[index])
        axes.step(timeline.edges, values[:, index], where="post", color=colour, linewidth=1.8, label=label)
    if len(colours) < len(classes):
        axes.plot([], [], color=_OTHER, linewidth=0.8, label=_others_text(len(classes) - len(colours)))
    axes.fill_between([], [], **_ABSTAINED_STYLE, label=ABSTAINED_TEXT)
    if threshold > 0:
        axes.axhline(threshold, color="black", linestyle="--", linewidth=0.8, label=f"threshold {threshold:.2f}")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("probability")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 1.5, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_time(value).removesuffix(".0")))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _others_text(count: int) -> str:
    return f"{count} other classes" if count > 1 else "1 other class"


def _legend_text(name: str) -> str:
    """Escape dollar signs, between which matplotlib would typeset a formula, and a first `_`, which hides a label."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")
