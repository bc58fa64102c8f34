from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tuning.evaluation.confusion_png import write_confusion_png


@pytest.mark.parametrize("classes", [2, 22])
def test_the_diagonal_is_dark_if_all_clips_are_correct(tmp_path: Path, classes: int) -> None:
    names = [f"exercise number {i}" for i in range(classes)]
    correct = 3 * np.eye(classes, dtype=int)
    wrong = np.zeros((classes, classes), int)
    wrong[:, 0] = 3
    widths = []
    for number, counts in enumerate((correct, wrong)):
        write_confusion_png(counts.tolist(), names, "test", tmp_path / f"{number}.png")
        picture = np.asarray(Image.open(tmp_path / f"{number}.png").convert("RGB")).astype(int)
        assert min(picture.shape[:2]) > 500
        matrix = picture[:, : int(0.8 * picture.shape[1])]  # without the colour bar
        dark = (abs(matrix - (8, 48, 107)).max(axis=2) < 8).any(axis=0).nonzero()[0]
        widths.append(np.ptp(dark))
    assert widths[0] == pytest.approx(classes * widths[1], rel=0.1), "all columns are dark, or the first alone"
