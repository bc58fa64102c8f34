"""The report's plot of what each trial was set to and what came of it: parallel coordinates, an inline `<svg>`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.plot import (
    BACKGROUND,
    BAR,
    MUTED,
    PLOT_WIDTH,
    UNITS_PER_INCH,
    VERMILION,
    display_name,
    inline_svg,
    plot_style,
)

_CROWD = 60
"""From so many trials on each is drawn thin."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A setting that trials differ in."""

    name: str
    scale: Literal["category", "linear", "log"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What one trial was set to, and its score."""

    values: tuple[str | float | None, ...]
    """One for each axis: text on an axis of categories, else a number; None where its architecture has no such axis."""
    score: float
    champion: bool = False


def parallel_coordinates(trials: Sequence[Settings], axes: Sequence[Axis], score: str) -> Markup:
    """A line a trial from axis to axis, down to its score; the better the darker and thicker, the champion on top.

    The axes lie across, so that their texts have room on a phone. Equal settings are drawn a little apart.

    Args:
        trials: At least one.
        axes: At least one, in the order in which they are drawn; numbers on a log axis are above 0.
        score: What the score is called.
    """
    assert trials, "no trials"
    assert axes, "no axes"
    assert all(len(trial.values) == len(axes) for trial in trials), "a trial needs a value for each axis"
    scores = [trial.score for trial in trials]
    assert np.isfinite(scores).all(), "a score that is no number"
    columns = [_scale(axis, [trial.values[place] for trial in trials]) for place, axis in enumerate(axes)]
    columns.append(_numbers(scores, [(score, value) for value in scores], log=False))
    bottom = 0.0
    with plot_style():
        canvas, figure = _canvas(PLOT_WIDTH, [34 + 11 * column.rows for column in columns])
        heights = []
        for axis, column in zip([*(axis.name for axis in axes), score], columns, strict=True):
            heights.append(bottom + 18)
            _rail(canvas, display_name(axis, 48), column, bottom + 18)
            bottom += 34 + 11 * column.rows
        paths = np.stack([column.places for column in columns], axis=1) * _RAIL + _MARGIN
        _trial_lines(canvas, trials, paths, heights)
        return inline_svg(figure, f"Settings and {score}, a line a trial; trials: {len(trials)}, axes: {len(axes)}")


_MARGIN = 10.0
_RAIL = PLOT_WIDTH * UNITS_PER_INCH - 2 * _MARGIN
_SHADES = 5


@dataclass(frozen=True, slots=True)
class _Column:
    """Where the trials stand on one axis, 0 … 1, and what is written under it in how many rows."""

    places: np.ndarray
    ticks: tuple[tuple[float, str], ...]
    rows: int


def _scale(axis: Axis, values: Sequence[str | float | None]) -> _Column:
    if axis.scale == "category":
        return _categories([_NONE if value is None else str(value) for value in values])
    given = [float(value) for value in values if value is not None]
    assert np.isfinite(given).all(), axis
    assert axis.scale == "linear" or min(given, default=1) > 0, axis
    return _numbers(given, [(axis.name, value) for value in values], log=axis.scale == "log")


_NONE = "–"
_LETTER = 5.6


def _categories(values: Sequence[str]) -> _Column:
    names = sorted(set(values), key=lambda name: (name == _NONE, list(values).index(name)))
    room = _RAIL / len(names)
    longest = max(map(len, names))
    rows = min(4, len(names), math.ceil((longest + 1) * _LETTER / room))
    letters = max(3, int(rows * room / _LETTER) - 1)
    place = {name: (index + 0.5) / len(names) for index, name in enumerate(names)}
    places = np.array([place[value] for value in values])
    return _Column(
        places + _apart(len(values), min(0.5 / len(names), 0.07)),
        tuple((place[name], display_name(name, letters)) for name in names),
        rows,
    )


def _numbers(given: Sequence[float], values: Sequence[tuple[str, object]], *, log: bool) -> _Column:
    """Numbers from the least at 0.04 to the greatest at 0.96 of the axis, or 0.84 where some have none."""
    blank = any(value is None for _, value in values)
    turned = np.log if log else np.asarray
    low, high = (float(turned(bound)) for bound in (min(given, default=1), max(given, default=1)))
    top = 0.84 if blank else 0.96

    def place(number: float) -> float:
        return 0.04 + (top - 0.04) * (0.5 if high == low else (float(turned(number)) - low) / (high - low))

    places = np.array([0.97 if value is None else place(value) for _, value in values])  # type: ignore[arg-type]
    told = sorted(set(given))
    if len(told) > 6:
        middle = np.linspace(low, high, 4)
        told = [float(number) for number in (np.exp(middle) if log else middle)]
    ticks = [(place(number), f"{number:.3g}") for number in told] + ([(0.97, _NONE)] if blank else [])
    crowded = min((b[0] - a[0] for a, b in pairwise(ticks)), default=1.0) * _RAIL < 34
    spread = 0.012 if len(set(given)) <= 6 and len(values) > 1 else 0.0
    return _Column(places + _apart(len(values), spread), tuple(ticks), 2 if crowded else 1)


def _apart(count: int, spread: float) -> np.ndarray:
    """Evenly spread numbers from -spread to spread, the same each time (a golden-ratio sequence)."""
    return spread * (2 * ((np.arange(count) * 0.6180339887 + 0.5) % 1) - 1) if count > 1 else np.zeros(count)


def _canvas(width: float, heights: Sequence[float]) -> tuple[Axes, Figure]:
    """Axes without a frame whose units are those of the SVG, y downwards."""
    height = float(sum(heights))
    figure = Figure(figsize=(width, height / UNITS_PER_INCH))
    figure.set_layout_engine("none")
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, width * UNITS_PER_INCH), ylim=(height, 0))
    canvas.set_axis_off()
    return canvas, figure


_BEHIND: dict[str, Any] = {"facecolor": BACKGROUND, "alpha": 0.75, "linewidth": 0, "pad": 1}
"""Of texts that lines pass."""


def _rail(canvas: Axes, name: str, column: _Column, height: float) -> None:
    canvas.text(2, height - 7, name, fontsize=10, fontweight="bold", va="bottom", zorder=6, bbox=_BEHIND)
    canvas.plot([_MARGIN, _MARGIN + _RAIL], [height, height], color=MUTED, linewidth=1)
    for index, (place, text) in enumerate(column.ticks):
        x = _MARGIN + _RAIL * place
        canvas.plot([x, x], [height - 3, height + 3], color=MUTED, linewidth=1)
        # What would leave the picture is moved into it.
        x = min(max(x, _LETTER * len(text) / 2), PLOT_WIDTH * UNITS_PER_INCH - _LETTER * len(text) / 2)
        y = height + 5 + 11 * (index % column.rows)
        canvas.text(x, y, text, fontsize=9, ha="center", va="top", zorder=6, bbox=_BEHIND)


def _trial_lines(canvas: Axes, trials: Sequence[Settings], paths: np.ndarray, heights: Sequence[float]) -> None:
    scores = np.array([trial.score for trial in trials])
    rank = (scores - scores.min()) / max(np.ptp(scores), 1e-12)
    shades = np.minimum((rank * _SHADES).astype(int), _SHADES - 1)
    crowd = len(trials) >= _CROWD
    thin = max(0.25, 0.6 * (_CROWD / len(trials)) ** 0.5) if crowd else 1.0
    for shade in range(_SHADES):
        lines = paths[shades == shade]
        if len(lines):
            share = shade / (_SHADES - 1)
            ys = np.tile([*heights, np.nan], len(lines))
            xs = np.concatenate([lines, np.full((len(lines), 1), np.nan)], axis=1).ravel()
            alpha = 0.12 + 0.5 * share if crowd else 0.22 + 0.7 * share
            canvas.plot(xs, ys, color=BAR, alpha=alpha, linewidth=thin * (1 + share), zorder=2 + share)
    for trial, path in zip(trials, paths, strict=True):
        if trial.champion:
            canvas.plot(path, heights, color=VERMILION, linewidth=2.4, marker="o", markersize=5, zorder=5)
            canvas.plot(PLOT_WIDTH * UNITS_PER_INCH - 68, heights[0] - 12, color=VERMILION, marker="o", markersize=5)
            canvas.text(PLOT_WIDTH * UNITS_PER_INCH - 60, heights[0] - 7, "champion", va="bottom")
