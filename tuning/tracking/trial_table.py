"""The table of trials that is printed while a sweep runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.tune import ProgressReporter
from tabulate import tabulate
from tqdm import tqdm

from tuning.search.titles import axis_text, axis_title, table_axes
from tuning.trial.disk import has_disk_space

_STATUS = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "PAUSED": "paused",
    # Tune does not say whether a trial ran to its last epoch or was stopped early; the leaderboard does.
    "TERMINATED": "ended",
    "ERROR": "error",
}


class TrialTable(ProgressReporter):
    """Prints a table of all trials, at most every `seconds` and once at the end."""

    def __init__(self, metric: str, total: int, checkpoints: Path, seconds: float = 20.0) -> None:
        self.metric, self.total, self.checkpoints, self.seconds = metric, total, checkpoints, seconds
        self.last_printed = 0.0

    def setup(self, start_time: float | None = None, total_samples: int | None = None, **kwargs: Any) -> None:
        """Start the clock. Tune calls this before the first trial starts."""
        self.last_printed = time.monotonic()

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Return whether to print the table now."""
        return done or time.monotonic() - self.last_printed >= self.seconds

    def report(self, trials: list[Any], done: bool, *sys_info: Any) -> None:
        """Print the table."""
        self.last_printed = time.monotonic()
        axes = table_axes(trial.config for trial in trials)
        header = ["trial", *map(axis_title, axes), "status", "epoch", self.metric, "seconds"]
        rows = [self._row(trial, axes) for trial in trials]
        ended = sum(trial.status in ("TERMINATED", "ERROR") for trial in trials)
        tqdm.write(f"\ntrials: {ended} of {self.total} ended")
        tqdm.write(tabulate(rows, header, tablefmt="simple", disable_numparse=True))
        self._warn_if_disk_full()

    def _warn_if_disk_full(self) -> None:
        """Print why trials wait: the output of workers is not shown."""
        with contextlib.suppress(OSError):
            newest = max(self.checkpoints.glob("*/checkpoint_*/"), key=lambda folder: folder.name, default=None)
            if not has_disk_space(self.checkpoints, newest):
                tqdm.write(f"note: the disk of {self.checkpoints} is full: trials wait until you free disk space")

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
