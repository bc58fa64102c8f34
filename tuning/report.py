"""What people look at: the leaderboard as text, the confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from tuning.metrics import Scores
from tuning.results import Finalist, TrialResult, axis_text, axis_title, telling_axes


def leaderboard(ranked: Sequence[TrialResult]) -> str:
    """A text table, best trial first."""
    axes = telling_axes(row.choice for row in ranked)
    header = [
        "",
        "trial",
        *(axis_title(axis) for axis in axes),
        "epochs",
        "val acc",
        "95 %",
        "val F1",
        "95 %",
        "seconds",
        "status",
    ]
    rows = [
        [place, row.id, *(axis_text(axis, row.choice[axis]) for axis in axes), row.epochs, *_figures(row)]
        for place, row in enumerate(ranked, 1)
    ]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def finals_table(ranked: Sequence[Finalist], metric: str) -> str:
    """A text table of the finalists, best mean first."""
    axes = telling_axes(each.middle.choice for each in ranked)
    header = ["", *(axis_title(axis) for axis in axes), "seeds", f"mean {metric}", "±", "worst", "best"]
    rows = [
        [
            place,
            *(axis_text(axis, each.middle.choice[axis]) for axis in axes),
            len(each.trials),
            *(f"{value:.3f}" for value in (each.mean, each.deviation, each.worst, each.best)),
        ]
        for place, each in enumerate(ranked, 1)
    ]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _figures(row: TrialResult) -> tuple[str, ...]:
    accuracy, macro_f1 = (row.intervals.accuracy, row.intervals.macro_f1) if row.intervals else ("", "")
    scores = f"{row.val_accuracy:.3f}", str(accuracy), f"{row.val_macro_f1:.3f}", str(macro_f1)
    return *scores, f"{row.seconds:.0f}", row.status


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
