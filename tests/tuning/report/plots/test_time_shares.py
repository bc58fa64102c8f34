from __future__ import annotations

import pytest

from tests.helpers.svg import parse, texts
from tuning.report.plots.time_shares import TimeRow, draw_time_shares


def test_rows_have_their_total_and_kinds_are_named() -> None:
    rows = [TimeRow("sweep", (3600.0, 10800.0)), TimeRow("trial", (0.0, 90.0))]
    svg = draw_time_shares(rows, ["decode", "computing"])
    assert {"sweep", "trial", "4 h", "90 s", "decode", "computing"} <= set(texts(svg))


def test_a_row_without_time_is_drawn() -> None:
    parse(draw_time_shares([TimeRow("nothing", (0.0,))], ["decode"]))


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ([TimeRow("a", (1.0, 2.0))], ["decode"]),
        ([TimeRow("a", (-1.0,))], ["decode"]),
        ([], ["decode"]),
        ([TimeRow("a", (1.0,) * 10)], list("abcdefghij")),
    ],
    ids=["too many times", "negative time", "no rows", "too many kinds"],
)
def test_times_that_fit_no_bar_are_refused(rows: list[TimeRow], kinds: list[str]) -> None:
    with pytest.raises(AssertionError):
        draw_time_shares(rows, kinds)
