"""The result of a trial, from its checkpoints and its last report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.config.schema.space import AXES, MODEL_PREFIX, TRAIN_PREFIX
from tuning.config.sweep_config import SweepConfig
from tuning.errors import last_line
from tuning.search.titles import USUAL_VALUES, trial_title
from tuning.training.bootstrap import ScoreIntervals
from tuning.training.checkpoint import Manifest

_PREFIXES = (TRAIN_PREFIX, MODEL_PREFIX)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial; its scores are those of its best epoch by `search.metric`."""

    id: str
    """Tune's id of the trial."""
    choice: Mapping[str, Any]
    """The value of each axis: `AXES` first, then settings of training and options of architectures."""
    seed: int
    stage: str
    """`search`, or `final` for a finalist, which has another seed."""
    epochs: int
    """Epochs trained."""
    val_accuracy: float
    val_macro_f1: float
    seconds: float
    """Training time."""
    status: str
    """`done`, `stopped` (by ASHA or `train.patience`), `diverged`, `error` or `unfinished`."""
    best_epoch: int
    """Epoch of the scores, from 1; 0 without a checkpoint."""
    checkpoint: str
    """Absolute folder of the best epoch's checkpoint; empty if there is none."""
    latest_checkpoint: str = ""
    """Absolute folder of the latest checkpoint, which has the validation predictions of all epochs."""
    reason: str = ""
    """For status `diverged` or `error` the cause, in one line."""
    history: tuple[dict[str, float], ...] = ()
    """Metrics of each epoch up to the latest checkpoint, in order."""
    intervals: ScoreIntervals | None = None
    """Intervals of the two scores; None without a checkpoint."""

    @property
    def arch(self) -> str:
        """The architecture."""
        return str(self.choice["arch"])

    @property
    def title(self) -> str:
        """Title for tables and plots, such as `c3d · balanced · 16f · lr 3e-4`."""
        return trial_title(self.choice_with_seed)

    @property
    def choice_with_seed(self) -> dict[str, Any]:
        """The choice as Tune got it: for a finalist it contains the `seed`."""
        return {**self.choice, "seed": self.seed} if self.stage == "final" else dict(self.choice)


def summarise_trial(
    trial_id: str,
    choice: dict[str, Any],
    tune_status: str,
    last: dict[str, Any] | None,
    checkpoints: Mapping[Path, Manifest],
    sweep: SweepConfig,
    error: str = "",
) -> TrialResult:
    """Return the result of a trial.

    Checkpoints take precedence over the report: the driver of a killed sweep may have missed the last epochs.

    Args:
        trial_id: Tune's id.
        choice: the value of each axis, and for a finalist its `seed`.
        tune_status: Tune's status (`TERMINATED`, `ERROR` …).
        last: the last report; None if there was none.
        checkpoints: the undamaged checkpoints; Ray keeps the two best and the latest.
        sweep: the settings of the sweep.
        error: Tune's traceback of a failed trial.
    """
    by_epoch = sorted(checkpoints.items(), key=lambda item: item[1].epoch)
    # The newest of equal ones, as Ray keeps it: which older ones exist depends on restarts.
    best = max(by_epoch, key=lambda item: (item[1].metrics[sweep.search.metric], item[1].epoch), default=None)
    history = by_epoch[-1][1].history if by_epoch else ()
    epochs = max(len(history), int(last["epoch"]) if last else 0)
    # Of a killed sweep Tune may not know that a trial has trained all its epochs.
    ended = tune_status == "TERMINATED" or (tune_status != "ERROR" and len(history) == sweep.train.epochs)
    status = _status("TERMINATED" if ended else tune_status, last, epochs, sweep.train.epochs)
    seconds = max(history[-1]["seconds"] if history else 0.0, float(last["seconds"]) if last else 0.0)
    return TrialResult(
        id=trial_id,
        choice=_complete_choice(choice),
        seed=choice.get("seed", sweep.train.seed),
        stage="final" if "seed" in choice else "search",
        epochs=epochs,
        val_accuracy=best[1].metrics["val_accuracy"] if best else math.nan,
        val_macro_f1=best[1].metrics["val_macro_f1"] if best else math.nan,
        seconds=round(seconds, 1),
        status=status,
        best_epoch=best[1].epoch if best else 0,
        checkpoint=str(best[0]) if best else "",
        latest_checkpoint=str(by_epoch[-1][0]) if by_epoch else "",
        reason=_reason(status, last, error),
        history=history,
    )


def _complete_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes of the choice; an axis that is newer than the run has its usual value."""
    axes = {axis: choice.get(axis, USUAL_VALUES.get(axis)) for axis in AXES}
    return axes | {axis: value for axis, value in choice.items() if axis.startswith(_PREFIXES)}


def _status(tune_status: str, last: dict[str, Any] | None, epochs: int, all_epochs: int) -> str:
    if tune_status == "ERROR":
        return "error"
    if tune_status == "TERMINATED" and last is not None and last["status"] in ("diverged", "error"):
        return str(last["status"])
    if tune_status != "TERMINATED" or epochs == 0:
        return "unfinished"
    return "done" if epochs >= all_epochs else "stopped"


def _reason(status: str, last: dict[str, Any] | None, error: str) -> str:
    if status not in ("diverged", "error"):
        return ""
    return str((last or {}).get("reason", "")) or last_line(error)


def is_usable(row: TrialResult) -> bool:
    """Whether the trial trained without a failure and has a model."""
    return row.status in ("done", "stopped") and bool(row.checkpoint)
