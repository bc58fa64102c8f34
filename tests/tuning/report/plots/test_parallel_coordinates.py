from __future__ import annotations

import math
import re

import pytest

from tests.helpers.svg import parse, texts
from tuning.report.plots.parallel_coordinates import CoordinateAxis, TrialLine, draw_parallel_coordinates

ARCH = CoordinateAxis("arch", "category")


def test_each_category_and_the_ends_of_numbers_are_labelled() -> None:
    axes = [ARCH, CoordinateAxis("lr", "log"), CoordinateAxis("model.dropout", "linear")]
    trials = [
        TrialLine(("c3d", 0.0001, 0.5), 0.25),
        TrialLine(("c3d", 0.01, None), 0.75, champion=True),
        TrialLine(("r3d", 0.001, 0.1), 0.5),
    ]
    shown = texts(draw_parallel_coordinates(trials, axes, "val F1"))
    assert {"arch", "lr", "model.dropout", "val F1", "champion"} <= set(shown)
    assert {"c3d", "r3d", "0.0001", "0.01", "0.1", "0.5", "–"} <= set(shown)
    assert "champion" not in texts(draw_parallel_coordinates(trials[:1], axes, "val F1"))


def test_trials_with_equal_settings_are_drawn_apart() -> None:
    svg = draw_parallel_coordinates([TrialLine(("c3d",), 0.5)] * 3, [ARCH], "F1")
    lines = [e.get("d", "") for e in parse(svg).iter() if "var(--bar)" in e.get("style", "")]
    starts = re.findall(r"M ([\d.]+) ([\d.]+)", lines[0])
    assert len(lines) == 1
    assert len({x for x, _ in starts}) == len(starts) == 3


def test_values_without_a_position_are_refused() -> None:
    with pytest.raises(AssertionError, match="a value for each axis"):
        draw_parallel_coordinates([TrialLine(("a", "b"), 0.5)], [ARCH], "F1")
    with pytest.raises(AssertionError):
        draw_parallel_coordinates([TrialLine((0.0,), 0.5)], [CoordinateAxis("lr", "log")], "F1")
    with pytest.raises(AssertionError):
        draw_parallel_coordinates([TrialLine((1.0,), math.nan)], [CoordinateAxis("lr", "log")], "F1")
