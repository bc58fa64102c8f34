from __future__ import annotations

import pytest

from data.intervals import wilson_interval
from tests.helpers.svg import texts
from tuning.report.plots.base import Estimate
from tuning.report.plots.per_class import ClassRow, draw_per_class


@pytest.mark.parametrize("classes", [1, 40])
def test_each_class_is_named_with_its_clips_and_rare_ones_are_marked(classes: int) -> None:
    rows = [ClassRow(f"class {i}", 1.0, Estimate(1, *wilson_interval(3, 3)), 1.0, 3, i == 0) for i in range(classes)]
    shown = texts(draw_per_class(rows))
    assert {f"class {i}" for i in range(classes)} <= set(shown)
    assert shown.count("3 rare") == 1
    assert shown.count("3") == classes - 1
