from __future__ import annotations

import pytest
from markupsafe import Markup

from tests.helpers.svg import parse, texts
from tuning.report.plots.base import Estimate, LabelledEstimate
from tuning.report.plots.paired_differences import draw_paired_differences


def forest(pairs: list[LabelledEstimate], overall: Estimate) -> Markup:
    return draw_paired_differences(pairs, LabelledEstimate("all", overall), favours=("plain", "weighted"), x_label="F1")


def test_differences_are_shown_with_their_intervals() -> None:
    pairs = [
        LabelledEstimate("lr", Estimate(0.625, 0.5, 0.75)),
        LabelledEstimate("sampler", Estimate(-0.01, -0.1, 0.1)),
    ]
    shown = texts(forest(pairs, Estimate(0.1, -0.004, 0.2)))
    assert {"+0.625 [+0.50, +0.75]", "+0.100 [+0.00, +0.20]", "all", "F1"} <= set(shown)
    assert {"plain", "weighted"} <= set(shown)


def test_differences_of_zero_are_drawn_and_no_pairs_are_refused() -> None:
    zero = Estimate(0, 0, 0)
    parse(forest([LabelledEstimate("none", zero)], zero))
    with pytest.raises(AssertionError):
        forest([], zero)
