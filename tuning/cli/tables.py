"""The leaderboard and the finalists as text tables."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from tuning.search.leaderboard import Finalist
from tuning.search.titles import axis_text, axis_title, table_axes
from tuning.search.trial_result import TrialResult


def leaderboard_table(ranked: Sequence[TrialResult]) -> str:
    """Return a text table of the trials, best first."""
    axes = table_axes(row.choice for row in ranked)
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
        [place, row.id, *(axis_text(axis, row.choice[axis]) for axis in axes), row.epochs, *_score_cells(row)]
        for place, row in enumerate(ranked, 1)
    ]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def finals_table(ranked: Sequence[Finalist], metric: str) -> str:
    """Return a text table of the finalists, best mean first."""
    axes = table_axes(each.median_trial.choice for each in ranked)
    header = ["", *(axis_title(axis) for axis in axes), "seeds", f"mean {metric}", "±", "worst", "best"]
    rows = [
        [
            place,
            *(axis_text(axis, each.median_trial.choice[axis]) for axis in axes),
            len(each.trials),
            *(f"{value:.3f}" for value in (each.mean, each.std, each.worst, each.best)),
        ]
        for place, each in enumerate(ranked, 1)
    ]
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def _score_cells(row: TrialResult) -> tuple[str, ...]:
    accuracy, macro_f1 = (row.intervals.accuracy, row.intervals.macro_f1) if row.intervals else ("", "")
    scores = f"{row.val_accuracy:.3f}", str(accuracy), f"{row.val_macro_f1:.3f}", str(macro_f1)
    return *scores, f"{row.seconds:.0f}", row.status
