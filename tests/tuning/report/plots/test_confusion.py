from __future__ import annotations

import numpy as np
import pytest
from markupsafe import Markup

from tests.helpers.svg import texts
from tuning.report.plots.confusion import MAX_NAMED_COLUMNS, draw_confusion


def cells(svg: Markup) -> list[str]:
    return [text for text in texts(svg) if text.isdigit()]


def test_cells_show_counts_or_percent_of_the_true_class() -> None:
    counts = np.array([[3, 1, 0], [0, 8, 0], [0, 0, 0]])
    assert cells(draw_confusion(counts, ["a", "b", "c"], rates=False)) == ["3", "1", "8"]
    rates = draw_confusion(counts, ["a", "b", "c"], rates=True)
    assert cells(rates) == ["75", "25", "100"]
    assert {"a (4)", "b (8)", "c (0)"} <= set(texts(rates))


@pytest.mark.parametrize("classes", [1, 2, 12, 13, 22, 40])
def test_each_class_is_named_and_many_columns_are_numbered(classes: int) -> None:
    names = [f"exercise {i}" for i in range(classes)]
    shown = texts(draw_confusion(np.diag(range(classes)), names, rates=False))
    for index, name in enumerate(names):
        assert name in shown or f"{name}  {index + 1}" in shown
    if classes > MAX_NAMED_COLUMNS:
        assert {str(index + 1) for index in range(classes)} <= set(shown)


def test_other_number_of_names_and_negative_counts_are_refused() -> None:
    with pytest.raises(AssertionError):
        draw_confusion(np.eye(3, dtype=int), ["a", "b"], rates=False)
    with pytest.raises(AssertionError, match="below 0"):
        draw_confusion(np.array([[-1]]), ["a"], rates=False)
