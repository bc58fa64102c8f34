"""Results of trials that were never run."""

from __future__ import annotations

from typing import Any

from tuning.search.trial_result import TrialResult

CHOICE = {
    "arch": "c3d",
    "weights": "none",
    "sampler": "balanced",
    "loss": "plain",
    "lr": 0.001,
    "num_frames": 16,
    "selection": "uniform",
}


def trial_result(
    name: str,
    score: float,
    status: str = "done",
    checkpoint: str = "/somewhere",
    *,
    seed: int | None = None,
    **axes: Any,
) -> TrialResult:
    """The result of a trial with both scores equal; with a seed it is a finalist's. `axes` differ from `CHOICE`."""
    return TrialResult(
        id=name,
        choice=CHOICE | axes,
        seed=seed or 0,
        stage="search" if seed is None else "final",
        epochs=4,
        val_accuracy=score,
        val_macro_f1=score,
        seconds=1.0,
        status=status,
        best_epoch=3,
        checkpoint=checkpoint,
    )
