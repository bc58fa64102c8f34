from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tuning.evaluation.confusion_plot import plot_confusion
from tuning.training.metrics import score


@pytest.mark.parametrize("classes", [2, 22])
def test_the_confusion_matrix_is_a_picture_with_a_dark_diagonal_where_all_is_right(
    tmp_path: Path, classes: int
) -> None:
    names = [f"exercise number {i}" for i in range(classes)]
    labels = [i for i in range(classes) for _ in range(3)]
    plot_confusion(score(labels, labels, names), names, tmp_path / "right.png")
    plot_confusion(score(labels, [0] * len(labels), names), names, tmp_path / "wrong.png")
    right, wrong = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) for name in ("right", "wrong"))
    assert min(right.shape[:2]) > 500
    assert (right != wrong).any()
