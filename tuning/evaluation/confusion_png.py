"""The confusion matrix of the test split as a PNG file; the report draws its own, see `tuning.report.plots`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

_MAX_NAME = 40


def write_confusion_png(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str, file: Path) -> None:
    """Write a confusion matrix: the colour is the share of the true class, the numbers are clips.

    Args:
        counts: clips, int `(K, K)`, `[true][predicted]`.
        classes: K names.
        title: text above the matrix.
        file: PNG file to write.
    """
    clips = np.asarray(counts)
    support = clips.sum(axis=1, keepdims=True)
    rates = np.divide(clips, support, out=np.zeros(clips.shape), where=support > 0)
    side = max(4.5, 0.5 * len(classes) + 2.5)
    figure = Figure(figsize=(side + 1, side), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    # parse_math=False: matplotlib would take a class name such as "$x$" for a formula.
    names = [name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…" for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    rows = [f"{name} ({n})" for name, n in zip(names, support[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), rows, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (clips)")
    for (row, column), count in np.ndenumerate(clips):
        if count:
            colour = "white" if rates[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set_title(title)
    figure.savefig(file)
