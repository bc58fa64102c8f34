"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tuning.training.metrics import Scores

_LONGEST_NAME = 40


def plot_confusion(scores: Scores, classes: Sequence[str], file: Path) -> None:
    """Write the confusion matrix as PNG: colour is the share of a true class, numbers are clips."""
    counts = np.asarray(scores.confusion)
    support = counts.sum(axis=1, keepdims=True)
    rates = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    side = max(4.5, 0.5 * len(classes) + 2.5)
    figure = Figure(figsize=(side + 1, side), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    # A class may be called what matplotlib would take for a formula.
    names = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    rows = [f"{name} ({n})" for name, n in zip(names, support[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), rows, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (clips)")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if rates[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set_title(f"test: accuracy {scores.accuracy:.3f}, macro-F1 {scores.macro_f1:.3f}, {scores.num_clips} clips")
    figure.savefig(file)
