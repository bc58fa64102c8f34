"""A long video as a picture: what from when to when, and how likely each class is meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tuning.inference.output import NO_ANSWER, clock
from tuning.inference.segments import Segment, VideoTimeline

SUFFIXES = (".png", ".svg")

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#4d4d4d")
"""Told apart by colour-blind people too (after Okabe and Ito 2008); the classes that take most time get them."""
_OTHER = "#c4c4c4"
_LETTER = 0.011
"""Of the width of a bar over the whole video."""


def plot_timeline(
    timeline: VideoTimeline,
    segments: Sequence[Segment],
    classes: Sequence[str],
    file: Path,
    *,
    title: str,
    threshold: float,
) -> None:
    """Write a PNG or SVG: bars of the segments, the classes' probabilities beneath.

    Args:
        timeline: of the video.
        segments: its segments.
        classes: K names.
        file: where to; its suffix is one of SUFFIXES.
        title: stands above.
        threshold: a dashed line among the probabilities; 0 for none.
    """
    colours = _colours(segments, len(classes))
    figure = Figure(figsize=(11, 4.4), dpi=150, layout="constrained")
    above, beneath = figure.subplots(2, 1, sharex=True, height_ratios=[1, 4])
    _bars(above, segments, classes, colours, timeline.edges[-1])
    above.set_title(title, loc="left", fontsize=11, parse_math=False)
    _lines(beneath, timeline, classes, colours, threshold)
    beneath.set_xlim(0, timeline.edges[-1])
    figure.savefig(file)


def _colours(segments: Sequence[Segment], count: int) -> dict[int, str]:
    time = np.zeros(count)
    for segment in segments:
        if not segment.abstained:
            time[int(segment.probabilities.argmax())] += segment.end - segment.start
    order = [int(index) for index in np.argsort(-time, kind="stable") if time[index] > 0]
    return dict(zip(order, _COLOURS, strict=False))


def _bars(
    axes: Axes, segments: Sequence[Segment], classes: Sequence[str], colours: dict[int, str], duration: float
) -> None:
    for segment in segments:
        span = [(segment.start, segment.end - segment.start)]
        if segment.abstained:
            axes.broken_barh(span, (0, 1), facecolor="#f2f2f2", edgecolor="#b0b0b0", hatch="///", linewidth=0)
        else:
            colour = colours.get(int(segment.probabilities.argmax()), _OTHER)
            axes.broken_barh(span, (0, 1), facecolor=colour, edgecolor="white", linewidth=1)
            name = classes[int(segment.probabilities.argmax())]
            if len(name) * _LETTER * duration < segment.end - segment.start:
                middle = (segment.start + segment.end) / 2
                axes.text(middle, 0.5, name, ha="center", va="center", color="white", weight="bold", parse_math=False)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.tick_params(bottom=False)
    axes.spines[:].set_visible(False)


def _lines(
    axes: Axes, timeline: VideoTimeline, classes: Sequence[str], colours: dict[int, str], threshold: float
) -> None:
    values = np.vstack([timeline.probabilities, timeline.probabilities[-1:]])
    for index in range(len(classes)):
        if index not in colours:
            axes.step(timeline.edges, values[:, index], where="post", color=_OTHER, linewidth=0.8)
    for index, colour in colours.items():
        label = _without_math(classes[index])
        axes.step(timeline.edges, values[:, index], where="post", color=colour, linewidth=1.8, label=label)
    if len(colours) < len(classes):
        axes.plot([], [], color=_OTHER, linewidth=0.8, label=_others(len(classes) - len(colours)))
    axes.fill_between([], [], facecolor="#f2f2f2", edgecolor="#b0b0b0", hatch="///", linewidth=0, label=NO_ANSWER)
    if threshold > 0:
        axes.axhline(threshold, color="black", linestyle="--", linewidth=0.8, label=f"threshold {threshold:.2f}")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("probability")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 1.5, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value).removesuffix(".0")))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _others(count: int) -> str:
    return f"{count} other classes" if count > 1 else "1 other class"


def _without_math(name: str) -> str:
    """A class may be called what matplotlib would take for a formula."""
    return name.replace("$", r"\$")
