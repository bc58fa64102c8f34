from __future__ import annotations

import re

import pytest

from tests.helpers.svg import parse, texts
from tuning.report.plots.base import Estimate
from tuning.report.plots.pareto import CostPoint, draw_pareto, pareto_front


def point(label: str, cost: float, score: float) -> CostPoint:
    return CostPoint(label, cost, Estimate(score, score, score))


POINTS = [point("d", 4, 0.9), point("b", 2, 0.7), point("a", 1, 0.5), point("b'", 2, 0.6), point("c", 3, 0.7)]


def test_front_has_the_points_that_no_other_beats() -> None:
    assert [each.label for each in pareto_front(POINTS)] == ["a", "b", "d"]


def test_points_of_the_front_are_numbered_and_named() -> None:
    shown = texts(draw_pareto(POINTS, "seconds"))
    assert {"1. a: 0.500 at 1", "2. b: 0.700 at 2", "3. d: 0.900 at 4"} <= set(shown)
    assert {"1", "2", "3"} <= set(shown)


def test_a_cost_of_zero_is_refused() -> None:
    with pytest.raises(AssertionError):
        draw_pareto([point("a", 0, 0.5)], "seconds")


def test_numbers_of_the_front_do_not_overlap() -> None:
    points = [point(str(i), 1 + 0.001 * i, 0.5 + 0.001 * i) for i in range(9)]
    points.append(CostPoint("dear", 15, Estimate(0.1, 0.1, 0.9)))
    positions = []
    for element in parse(draw_pareto(points, "seconds")).iter("{http://www.w3.org/2000/svg}text"):
        if re.fullmatch(r"[1-9]", "".join(element.itertext())) and "font-weight: 700" in element.get("style", ""):
            positions.append((float(element.get("x", "")), float(element.get("y", ""))))
    assert len(positions) == 9
    for i, (x, y) in enumerate(positions):
        assert all(abs(x - u) > 6 or abs(y - v) > 9 for u, v in positions[:i])
