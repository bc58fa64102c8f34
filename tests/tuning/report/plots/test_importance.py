from __future__ import annotations

import pytest

from tests.helpers.svg import texts
from tuning.report.plots.base import Estimate, LabelledEstimate
from tuning.report.plots.importance import draw_importance


def test_each_axis_has_its_value() -> None:
    rows = [
        LabelledEstimate("lr", Estimate(0.625, 0.5, 0.75)),
        LabelledEstimate("sampler", Estimate(-0.01, -0.1, 0.1)),
    ]
    assert {"lr", "sampler", "0.62", "-0.01", "importance"} <= set(texts(draw_importance(rows)))


def test_no_axes_are_refused() -> None:
    with pytest.raises(AssertionError):
        draw_importance([])
