from __future__ import annotations

import pytest

from tests.helpers.svg import texts
from tuning.report.plots.risk_coverage import draw_risk_coverage
from tuning.training.calibration import RiskCoveragePoint

POINTS = (RiskCoveragePoint(0.5, 1.0, 0.3), RiskCoveragePoint(0.9, 0.25, 0.0), RiskCoveragePoint(0.7, 0.75, 0.125))


def test_risk_is_marked_at_the_largest_coverage_that_the_threshold_allows() -> None:
    shown = texts(draw_risk_coverage({"validation": POINTS, "test": POINTS[:1]}, 0.6))
    assert "validation, threshold 0.60: 12.5 % wrong at 75 % coverage" in shown
    assert "test" in shown
    assert not [text for text in shown if text.startswith("test, threshold")]


def test_nothing_is_marked_without_a_threshold() -> None:
    shown = texts(draw_risk_coverage({"validation": POINTS}, None))
    assert "validation" in shown
    assert not [text for text in shown if "threshold" in text]


def test_a_split_without_points_is_refused() -> None:
    with pytest.raises(AssertionError):
        draw_risk_coverage({"validation": ()}, None)
