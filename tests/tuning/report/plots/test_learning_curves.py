from __future__ import annotations

import math

import pytest

from tests.helpers.svg import texts
from tuning.report.plots.learning_curves import LearningCurve, draw_learning_curves


def test_stopped_trials_are_counted_and_the_champion_is_named() -> None:
    curves = [
        LearningCurve("a", (1,), (0.1,)),
        LearningCurve("b", (1, 2), (0.1, 0.2), stopped=True),
        LearningCurve("best", (1, 2), (0.2, 0.3), champion=True),
    ]
    shown = texts(draw_learning_curves(curves, "val accuracy"))
    assert {"2 trials", "1 stopped early", "champion: best", "epoch", "val accuracy"} <= set(shown)


@pytest.mark.parametrize(
    "bad",
    [LearningCurve("a", (1, 2), (0.1,)), LearningCurve("a", (), ()), LearningCurve("a", (1,), (math.nan,))],
    ids=["lengths differ", "no epochs", "score is nan"],
)
def test_incomplete_curves_are_refused(bad: LearningCurve) -> None:
    with pytest.raises(AssertionError):
        draw_learning_curves([bad], "F1")
