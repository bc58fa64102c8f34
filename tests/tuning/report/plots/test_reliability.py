from __future__ import annotations

import pytest
from markupsafe import Markup

from tests.helpers.svg import parse, texts
from tuning.report.plots.reliability import draw_reliability
from tuning.training.calibration import ReliabilityBin


def bins(*counts: tuple[int, int]) -> list[ReliabilityBin]:
    """Bins of equal width; `counts` are the correct predictions and all predictions of each."""
    share = 1 / len(counts)
    return [ReliabilityBin(i * share, (i + 1) * share, n, (i + 0.5) * share, k) for i, (k, n) in enumerate(counts)]


def test_both_calibration_errors_are_shown_and_empty_bins_are_not_drawn() -> None:
    # In the middle bin of `before`, confidence 1/2 and accuracy 1/4 on 4 clips; in the last 5/6 and 1 on 9.
    before, after = bins((0, 0), (1, 4), (9, 9)), bins((0, 1), (2, 4), (8, 8))
    svg = draw_reliability(before, after)
    assert {"before: ECE 0.192", "after: ECE 0.115"} <= set(texts(svg))
    assert "0.192 before and 0.115 after calibration" in (parse(svg).get("aria-label") or "")
    assert (markers(svg, "#d55e00"), markers(svg, "--blue")) == (2 + 1, 3 + 1), "filled bins, and the legend"


def markers(svg: Markup, colour: str) -> int:
    uses = [element for element in parse(svg).iter() if element.tag.endswith("}use")]
    return sum(colour in element.get("style", "") for element in uses)


def test_a_single_bin_is_drawn_and_no_clips_are_refused() -> None:
    one = bins((3, 4))
    assert "before: ECE 0.250" in texts(draw_reliability(one, one))
    with pytest.raises(AssertionError, match="no clips before"):
        draw_reliability(bins((0, 0)), one)
