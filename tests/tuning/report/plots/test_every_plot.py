"""What holds for every plot: any name is shown and escaped, IDs are unique in a page, and large sweeps stay small."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import jinja2
import numpy as np
import pytest
from markupsafe import Markup

from tests.helpers.svg import ids, parse, texts
from tests.tuning.report.plots.test_frame_order import PROBE
from tuning.report.plots.base import Estimate, LabelledEstimate
from tuning.report.plots.confusion import draw_confusion
from tuning.report.plots.frame_count import FrameCountCurve, draw_frame_count
from tuning.report.plots.frame_order import draw_frame_order
from tuning.report.plots.importance import draw_importance
from tuning.report.plots.learning_curves import LearningCurve, draw_learning_curves
from tuning.report.plots.paired_differences import draw_paired_differences
from tuning.report.plots.parallel_coordinates import CoordinateAxis, TrialLine, draw_parallel_coordinates
from tuning.report.plots.pareto import CostPoint, draw_pareto
from tuning.report.plots.per_class import ClassRow, draw_per_class
from tuning.report.plots.risk_coverage import draw_risk_coverage
from tuning.report.plots.time_shares import TimeRow, draw_time_shares
from tuning.training.calibration import RiskCoveragePoint

HOSTILE = "<b>&\"'$x$ #010101"
HALF = Estimate(0.5, 0.4, 0.6)
ARCH = CoordinateAxis("arch", "category")


def pair(name: str, favours: tuple[str, str] = ("a", "b")) -> Markup:
    overall = LabelledEstimate("all", HALF)
    return draw_paired_differences([LabelledEstimate(name, HALF)], overall, favours=favours, x_label="F1")


NAMED: dict[str, Callable[[str], Markup]] = {
    "confusion": lambda name: draw_confusion(np.eye(2, dtype=int), [name, "other"], rates=False),
    "many classes": lambda name: draw_confusion(np.eye(13, dtype=int), [name, *"abcdefghijkl"], rates=True),
    "risk": lambda name: draw_risk_coverage({name: (RiskCoveragePoint(0.9, 0.5, 0.1),)}, 0.8),
    "category": lambda name: draw_parallel_coordinates([TrialLine((name,), 0.5)], [ARCH], "F1"),
    "axis": lambda name: draw_parallel_coordinates(
        [TrialLine((1.0,), 0.5, champion=True)], [CoordinateAxis(name, "linear")], "F1"
    ),
    "importance": lambda name: draw_importance([LabelledEstimate(name, HALF)]),
    "curves": lambda name: draw_learning_curves([LearningCurve(name, (1, 2), (0.1, 0.4), champion=True)], "F1"),
    "pareto": lambda name: draw_pareto([CostPoint(name, 3.0, HALF)], "seconds"),
    "pair": pair,
    "favours": lambda name: pair("a", favours=(name, "b")),
    "order": lambda name: draw_frame_order([replace(PROBE, arch=name)], 0.25),
    "frames": lambda name: draw_frame_count([FrameCountCurve(name, (1, 8), (HALF, HALF))]),
    "class": lambda name: draw_per_class([ClassRow(name, 0.5, HALF, 0.5, 4, True)]),
    "times": lambda name: draw_time_shares([TimeRow(name, (3.0,))], ["decode"]),
    "kind": lambda name: draw_time_shares([TimeRow("all", (3.0,))], [name]),
}
"""Every slot in which a plot shows a name from outside, with the least that the plot draws."""


@pytest.mark.parametrize("draw", NAMED.values(), ids=NAMED)
def test_any_name_is_shown_escaped_and_two_plots_share_no_ids(draw: Callable[[str], Markup]) -> None:
    svg = draw(HOSTILE)
    assert HOSTILE in "\n".join(texts(svg))
    assert "<b>" not in svg
    assert jinja2.Environment(autoescape=True).from_string("{{ svg }}").render(svg=svg) == svg
    other = draw("\x00\x1b\ud800\n" + "x" * 500)
    assert all(len(text) < 80 for text in texts(other))
    assert ids(other).isdisjoint(ids(svg))


@pytest.mark.parametrize("name", ["importance", "curves"])
def test_equal_data_gives_equal_svg(name: str) -> None:
    assert NAMED[name]("a") == NAMED[name]("a")


def test_page_colours_appear_in_styles_only() -> None:
    svg = draw_confusion(np.array([[3, 1], [0, 2]]), ["#020202", "var(--ink)"], rates=False)
    assert "fill: var(--ink)" in svg
    assert "var(--bar)" in svg
    assert "#020202" in "".join(texts(svg))
    assert "var(--panel)" in draw_time_shares([TimeRow("a", (1.0, 2.0))], ["x", "y"])


def test_plots_of_a_thousand_trials_stay_below_300_kilobytes() -> None:
    draws = np.random.default_rng(0)
    lines = [TrialLine((f"arch{i % 5}", float(draws.uniform(1e-5, 1))), float(draws.random())) for i in range(1000)]
    costs = [CostPoint(str(i), float(draws.uniform(1, 1e9)), Estimate(v := draws.random(), v, v)) for i in range(1000)]
    curves = [
        LearningCurve(str(i), tuple(range(1, 11)), tuple(draws.random(10)), stopped=i % 3 > 0, champion=i == 7)
        for i in range(1000)
    ]
    for svg in (
        draw_parallel_coordinates(lines, [ARCH, CoordinateAxis("lr", "log")], "F1"),
        draw_learning_curves(curves, "F1"),
        draw_pareto(costs, "FLOPs per clip"),
    ):
        parse(svg)
        assert len(svg) < 300_000


@pytest.mark.parametrize("bad", [(0.5, 0.6, 0.4), (math.nan, 0, 1), (0.5, 0, math.inf)])
def test_estimate_refuses_infinite_values_and_a_reversed_interval(bad: tuple[float, float, float]) -> None:
    with pytest.raises(AssertionError):
        Estimate(*bad)
