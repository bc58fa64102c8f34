"""What Tune tells while it runs: to the journal each epoch, to people a table now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback, ProgressReporter
from tabulate import tabulate
from tqdm import tqdm

from tuning.search.titles import axis_text, axis_title, table_axes
from tuning.tracking.events import Journal
from tuning.tracking.outbox import Spool
from tuning.training.checkpoint import CheckpointError, read_manifest
from tuning.trial.disk import has_disk_space


class TrackingCallback(Callback):
    """Each trial's start and epochs into the sweep's journal: Tune's loop waits for no server."""

    def __init__(self, spool: Spool) -> None:
        # Tune pickles this with the sweep's state: what earlier processes wrote is read again by each.
        self.spool = spool
        self.journal: Journal | None = None

    def setup(self, stop: Any = None, num_samples: int | None = None, total_num_samples: Any = None, **_: Any) -> None:
        """Tune calls this before the first trial starts."""
        self.journal = Journal(self.spool)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of its start, or of its going on after a restart."""
        assert self.journal is not None, "setup comes first"
        self.journal.start_trial(trial.trial_id, trial.config)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell of an epoch, and before it of those that a killed process has not heard of."""
        assert self.journal is not None, "setup comes first"
        if result["status"] != "running":
            return
        epoch, folder = int(result["epoch"]), result.get("checkpoint_path")
        if folder is not None and not self.journal.has_told(trial.trial_id, epoch - 1):
            with contextlib.suppress(CheckpointError):
                for earlier, metrics in enumerate(read_manifest(Path(folder)).history[: epoch - 1], 1):
                    self.journal.log_epoch(trial.trial_id, earlier, metrics)
        self.journal.log_epoch(trial.trial_id, epoch, result)


_STATUS = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "PAUSED": "paused",
    # Whether to the end or stopped early, Tune does not say; the leaderboard does.
    "TERMINATED": "ended",
    "ERROR": "error",
}


class TrialTable(ProgressReporter):
    """A table of all trials, at most every `seconds` and once at the end."""

    def __init__(self, metric: str, total: int, checkpoints: Path, seconds: float = 20.0) -> None:
        self.metric, self.total, self.checkpoints, self.seconds = metric, total, checkpoints, seconds
        self.last_shown = 0.0

    def setup(self, start_time: float | None = None, total_samples: int | None = None, **kwargs: Any) -> None:
        """Tune calls this before the first trial starts."""
        self.last_shown = time.monotonic()

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Whether it is time to show the table again."""
        return done or time.monotonic() - self.last_shown >= self.seconds

    def report(self, trials: list[Any], done: bool, *sys_info: Any) -> None:
        """Print the table."""
        self.last_shown = time.monotonic()
        axes = table_axes(trial.config for trial in trials)
        rows = [self._row(trial, axes) for trial in trials]
        ended = sum(trial.status in ("TERMINATED", "ERROR") for trial in trials)
        tqdm.write(f"\ntrials: {ended} of {self.total} ended")
        tqdm.write(
            tabulate(
                rows,
                ["trial", *map(axis_title, axes), "status", "epoch", self.metric, "seconds"],
                tablefmt="simple",
                disable_numparse=True,
            )
        )

        self._tell_of_a_full_disk()

    def _tell_of_a_full_disk(self) -> None:
        """Trials wait without a word: nothing that a worker prints is shown."""
        with contextlib.suppress(OSError):
            newest = max(self.checkpoints.glob("*/checkpoint_*/"), key=lambda folder: folder.name, default=None)
            if not has_disk_space(self.checkpoints, newest):
                tqdm.write(f"note: the disk of {self.checkpoints} is full: trials wait until there is room")

    def _row(self, trial: Any, axes: Sequence[str]) -> list[str]:
        last = trial.last_result or {}
        value, seconds = last.get(self.metric), last.get("seconds")
        return [
            trial.trial_id,
            *(axis_text(axis, trial.config.get(axis, "")) for axis in axes),
            str(last["status"]) if last.get("status") in ("diverged", "error") else _STATUS.get(trial.status, ""),
            str(last.get("epoch", "")),
            "" if value is None else f"{value:.3f}",
            "" if seconds is None else f"{seconds:.0f}",
        ]
