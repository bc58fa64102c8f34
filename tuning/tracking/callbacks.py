"""The Tune callback that logs events of trials."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, ClassVar

from ray.tune import Callback

from tuning.tracking.events import EventLog
from tuning.tracking.outbox import Outbox
from tuning.training.checkpoint import CheckpointError, read_manifest


class TrackingCallback(Callback):
    """Logs each trial's start and epochs to the outbox, so that Tune's loop never waits for a server."""

    outbox_of_sweep: ClassVar[Outbox | None] = None
    """The outbox of the sweep that this process runs, instead of the one that Tune restores: the run may have been
    moved since Tune wrote its path."""

    def __init__(self, outbox: Outbox) -> None:
        # Tune pickles the callback with the state of the sweep: each process reads the events again in `setup`.
        self.outbox = outbox
        self.events: EventLog | None = None

    def setup(self, stop: Any = None, num_samples: int | None = None, total_num_samples: Any = None, **_: Any) -> None:
        """Read the events so far. Tune calls this before the first trial starts."""
        self.events = EventLog(self.outbox_of_sweep or self.outbox)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log the start of a trial, or its restart."""
        assert self.events is not None, "setup comes first"
        self.events.log_trial_start(trial.trial_id, trial.config)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log an epoch, and before it the epochs that a killed process missed, from the checkpoint's history."""
        assert self.events is not None, "setup comes first"
        if result["status"] != "running":
            return
        epoch, checkpoint = int(result["epoch"]), result.get("checkpoint_path")
        if checkpoint is not None and not self.events.has_epochs(trial.trial_id, epoch - 1):
            with contextlib.suppress(CheckpointError):
                for earlier, metrics in enumerate(read_manifest(Path(checkpoint)).history[: epoch - 1], 1):
                    self.events.log_epoch(trial.trial_id, earlier, metrics)
        self.events.log_epoch(trial.trial_id, epoch, result)
