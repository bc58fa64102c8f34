"""The settings and the score of each trial, as parallel coordinates."""

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
from tuning.report.findings import SweepFindings
from tuning.report.plots.base import MANY_TRIALS, ReportPlot
from tuning.report.tables import trial_table
from tuning.search.titles import axis_text, axis_title, table_axes
from tuning.search.trial_result import TrialResult

Scale = Literal["category", "linear", "log"]


@dataclass(frozen=True, slots=True)
class CoordinateAxis:
    """An axis of the space in which trials differ."""

    name: str
    scale: Scale


@dataclass(frozen=True, slots=True)
class TrialLine:
    """One trial's value on each axis, and its score."""

    values: tuple[str | float | None, ...]
    """One per axis: text on a `category` axis, else a number; None if its architecture does not have the axis."""
    score: float
    champion: bool = False


def parallel_coordinates_plot(findings: SweepFindings) -> ReportPlot | None:
    """Plot the settings of all trials; None with fewer than two scored trials, or if they differ in no setting."""
    rows = findings.scored_trials
    axes = [
        axis
        for axis in table_axes([row.choice for row in rows])
        if len({str(row.choice.get(axis)) for row in rows}) > 1
    ]
    if len(rows) < 2 or not axes:
        return None
    scales = {axis: _scale(rows, axis) for axis in axes}
    lines = [
        TrialLine(
            tuple(_value(row, axis, scales[axis]) for axis in axes),
            getattr(row, findings.metric),
            row.id == findings.champion.id,
        )
        for row in rows
    ]
    drawn = [CoordinateAxis(axis_title(axis), scales[axis]) for axis in axes]
    svg = draw_parallel_coordinates(lines, drawn, findings.metric_title)
    table = trial_table(findings)[["trial", *(axis.name for axis in drawn), findings.metric]]
    note = f"One line per trial; the darker and thicker, the higher its {findings.metric_title}."
    return ReportPlot("parallel_coordinates", "Settings and scores", svg, table, note)


def _scale(rows: Sequence[TrialResult], axis: str) -> Scale:
    values = [row.choice.get(axis) for row in rows]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return "category"
    numbers = [float(value) for value in values if value is not None]
    return "log" if min(numbers) > 0 and max(numbers) / min(numbers) >= 10 else "linear"


def _value(row: TrialResult, axis: str, scale: Scale) -> str | float | None:
    value = row.choice.get(axis)
    return (axis_text(axis, value) or _NO_VALUE) if scale == "category" else value


_NO_VALUE = "–"
_LETTER_WIDTH = 5.6
_MARGIN = 10.0
_RAIL_LENGTH = PLOT_WIDTH * UNITS_PER_INCH - 2 * _MARGIN
_ROW_HEIGHT = 11
_SHADES = 5


def draw_parallel_coordinates(trials: Sequence[TrialLine], axes: Sequence[CoordinateAxis], score: str) -> Markup:
    """Draw one line per trial from axis to axis, down to its score.

    The axes are horizontal, so that their texts fit on a phone. A line is darker and thicker the better the score; the
    champion is on top. Trials with equal settings are drawn a little apart.

    Args:
        trials: at least one trial.
        axes: at least one axis, from top to bottom; numbers on a log axis are above 0.
        score: name of the score.
    """
    assert trials, "no trials"
    assert axes, "no axes"
    assert all(len(trial.values) == len(axes) for trial in trials), "a trial needs a value for each axis"
    scores = [trial.score for trial in trials]
    assert np.isfinite(scores).all(), "a score is not finite"
    rails = [_rail(axis, [trial.values[number] for trial in trials]) for number, axis in enumerate(axes)]
    rails.append(_number_rail(scores, scores, log=False))
    with plot_style():
        canvas, figure = _canvas(PLOT_WIDTH, [34 + _ROW_HEIGHT * rail.label_rows for rail in rails])
        heights, top = [], 0.0
        for name, rail in zip([*(axis.name for axis in axes), score], rails, strict=True):
            heights.append(top + 18)
            _draw_rail(canvas, display_name(name, 48), rail, top + 18)
            top += 34 + _ROW_HEIGHT * rail.label_rows
        paths = np.stack([rail.positions for rail in rails], axis=1) * _RAIL_LENGTH + _MARGIN
        _draw_trials(canvas, scores, paths, heights)
        for trial, path in zip(trials, paths, strict=True):
            if trial.champion:
                _draw_champion(canvas, path, heights)
        return inline_svg(figure, f"Settings and {score}, a line a trial; trials: {len(trials)}, axes: {len(axes)}")


@dataclass(frozen=True, slots=True)
class _Rail:
    """An axis as it is drawn: a horizontal line with labels below."""

    positions: np.ndarray
    """Of each trial along the line, from 0 to 1."""
    ticks: tuple[tuple[float, str], ...]
    """Position and label of each tick."""
    label_rows: int
    """Rows that the labels alternate between, so that they do not overlap."""


def _rail(axis: CoordinateAxis, values: Sequence[str | float | None]) -> _Rail:
    if axis.scale == "category":
        return _category_rail([_NO_VALUE if value is None else str(value) for value in values])
    numbers = [None if value is None else float(value) for value in values]
    given = [number for number in numbers if number is not None]
    assert np.isfinite(given).all(), axis
    assert axis.scale == "linear" or min(given, default=1) > 0, axis
    return _number_rail(given, numbers, log=axis.scale == "log")


def _category_rail(values: Sequence[str]) -> _Rail:
    names = sorted(set(values), key=lambda name: (name == _NO_VALUE, list(values).index(name)))
    width = _RAIL_LENGTH / len(names)
    longest = max(map(len, names))
    rows = min(4, len(names), math.ceil((longest + 1) * _LETTER_WIDTH / width))
    letters = max(3, int(rows * width / _LETTER_WIDTH) - 1)
    position = {name: (index + 0.5) / len(names) for index, name in enumerate(names)}
    return _Rail(
        np.array([position[value] for value in values]) + _spread(len(values), min(0.5 / len(names), 0.07)),
        tuple((position[name], display_name(name, letters)) for name in names),
        rows,
    )


def _number_rail(given: Sequence[float], values: Sequence[float | None], *, log: bool) -> _Rail:
    """Put the lowest number at 0.04 and the highest at 0.96 of the line, or at 0.84 if some trials have none.

    Args:
        given: the numbers of the trials that have one.
        values: the numbers of all trials, None for those without.
        log: whether the scale is logarithmic.
    """
    some_without = None in values
    transform = np.log if log else np.asarray
    low, high = (float(transform(bound)) for bound in (min(given, default=1), max(given, default=1)))
    last = 0.84 if some_without else 0.96

    def position(number: float | None) -> float:
        if number is None:
            return 0.97
        return 0.04 + (last - 0.04) * (0.5 if high == low else (float(transform(number)) - low) / (high - low))

    labelled = sorted(set(given))
    few = len(labelled) <= 6
    if not few:
        even = np.linspace(low, high, 4)
        labelled = [float(number) for number in (np.exp(even) if log else even)]
    ticks = [(position(number), f"{number:.3g}") for number in labelled]
    if some_without:
        ticks.append((position(None), _NO_VALUE))
    crowded = min((b[0] - a[0] for a, b in pairwise(ticks)), default=1.0) * _RAIL_LENGTH < 34
    spread = 0.012 if few and len(values) > 1 else 0.0
    positions = np.array([position(number) for number in values])
    return _Rail(positions + _spread(len(values), spread), tuple(ticks), 2 if crowded else 1)


def _spread(count: int, spread: float) -> np.ndarray:
    """Return numbers evenly spread between -spread and spread, the same each time (a golden-ratio sequence)."""
    return spread * (2 * ((np.arange(count) * 0.6180339887 + 0.5) % 1) - 1) if count > 1 else np.zeros(count)


def _canvas(width: float, heights: Sequence[float]) -> tuple[Axes, Figure]:
    """Return axes without a frame, whose units are those of the SVG; y points down."""
    height = float(sum(heights))
    figure = Figure(figsize=(width, height / UNITS_PER_INCH))
    figure.set_layout_engine("none")
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, width * UNITS_PER_INCH), ylim=(height, 0))
    canvas.set_axis_off()
    return canvas, figure


_TEXT_BOX: dict[str, Any] = {"facecolor": BACKGROUND, "alpha": 0.75, "linewidth": 0, "pad": 1}
"""Behind texts that trials' lines pass."""


def _draw_rail(canvas: Axes, name: str, rail: _Rail, height: float) -> None:
    canvas.text(2, height - 7, name, fontsize=10, fontweight="bold", va="bottom", zorder=6, bbox=_TEXT_BOX)
    canvas.plot([_MARGIN, _MARGIN + _RAIL_LENGTH], [height, height], color=MUTED, linewidth=1)
    for index, (position, text) in enumerate(rail.ticks):
        x = _MARGIN + _RAIL_LENGTH * position
        canvas.plot([x, x], [height - 3, height + 3], color=MUTED, linewidth=1)
        # Shift a label that would leave the picture.
        half = _LETTER_WIDTH * len(text) / 2
        x = min(max(x, half), PLOT_WIDTH * UNITS_PER_INCH - half)
        y = height + 5 + _ROW_HEIGHT * (index % rail.label_rows)
        canvas.text(x, y, text, fontsize=9, ha="center", va="top", zorder=6, bbox=_TEXT_BOX)


def _draw_trials(canvas: Axes, scores: Sequence[float], paths: np.ndarray, heights: Sequence[float]) -> None:
    """Draw the trials' lines in a few shades by score, each shade as one line with gaps."""
    values = np.array(scores)
    rank = (values - values.min()) / max(np.ptp(values), 1e-12)
    shades = np.minimum((rank * _SHADES).astype(int), _SHADES - 1)
    many = len(scores) >= MANY_TRIALS
    width = max(0.25, 0.6 * (MANY_TRIALS / len(scores)) ** 0.5) if many else 1.0
    for shade in range(_SHADES):
        lines = paths[shades == shade]
        if len(lines):
            share = shade / (_SHADES - 1)
            ys = np.tile([*heights, np.nan], len(lines))
            xs = np.concatenate([lines, np.full((len(lines), 1), np.nan)], axis=1).ravel()
            alpha = 0.12 + 0.5 * share if many else 0.22 + 0.7 * share
            canvas.plot(xs, ys, color=BAR, alpha=alpha, linewidth=width * (1 + share), zorder=2 + share)


def _draw_champion(canvas: Axes, path: np.ndarray, heights: Sequence[float]) -> None:
    """Draw the champion's line, and its legend."""
    canvas.plot(path, heights, color=VERMILION, linewidth=2.4, marker="o", markersize=5, zorder=5)
    right = PLOT_WIDTH * UNITS_PER_INCH
    canvas.plot(right - 68, heights[0] - 12, color=VERMILION, marker="o", markersize=5)
    canvas.text(right - 60, heights[0] - 7, "champion", va="bottom")
