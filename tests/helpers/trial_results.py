"""Results of trials that were never run."""

from __future__ import annotations

from typing import Any

from tuning.config.schema.space import AXES
from tuning.search.titles import USUAL_VALUES
from tuning.search.trial_result import TrialResult

_VALUES = {**USUAL_VALUES, "arch": "c3d", "sampler": "balanced", "lr": 0.001, "num_frames": 16}

CHOICE = {axis: _VALUES[axis] for axis in AXES}


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
