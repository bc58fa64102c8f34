from __future__ import annotations

import pytest

from tests.helpers.svg import texts
from tuning.report.plots.base import Estimate
from tuning.report.plots.frame_count import FrameCountCurve, draw_frame_count

HALF = Estimate(0.5, 0.4, 0.6)


def test_each_architecture_and_each_number_of_frames_is_shown() -> None:
    curves = [FrameCountCurve(f"arch {i}", (1, 4, 16), (HALF,) * 3) for i in range(12)]
    assert {*(each.name for each in curves), "1", "4", "16"} <= set(texts(draw_frame_count(curves)))


def test_a_number_of_frames_without_accuracy_is_refused() -> None:
    with pytest.raises(AssertionError):
        draw_frame_count([FrameCountCurve("c3d", (1, 2), (HALF,))])
