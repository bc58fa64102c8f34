"""What Tune tells while it runs: to MLflow each epoch, to people a table now and then."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ray.tune import Callback, ProgressReporter
from tabulate import tabulate
from tqdm import tqdm

from tuning.results import axis_text, axis_title, telling_axes
from tuning.tracking import METRICS, Tracking


class TrackingCallback(Callback):
    """Each trial's start and epochs to MLflow, from the sweep's own process."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.runs: dict[str, str] = {}
        self.logged: dict[str, set[int]] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run; one that goes on after a restart keeps the epochs that it has."""
        run_id = self.tracking.start_trial(trial.trial_id, dict(trial.config))
        self.runs[trial.trial_id] = run_id
        self.logged[trial.trial_id] = self.tracking.logged_epochs(run_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log an epoch once, though a restarted trial may report it twice."""
        epoch, logged = int(result["epoch"]), self.logged[trial.trial_id]
        if epoch not in logged and result["status"] != "diverged":
            self.tracking.log_epoch(self.runs[trial.trial_id], epoch, {key: float(result[key]) for key in METRICS})
            logged.add(epoch)


class TrialTable(ProgressReporter):
    """A table of all trials, at most every `seconds` and once at the end."""

    def __init__(self, metric: str, total: int, seconds: float = 20.0) -> None:
        self.metric, self.total, self.seconds = metric, total, seconds
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
        axes = telling_axes(trial.config for trial in trials)
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

    def _row(self, trial: Any, axes: Sequence[str]) -> list[str]:
        last = trial.last_result or {}
        value, seconds = last.get(self.metric), last.get("seconds")
        return [
            trial.trial_id,
            *(axis_text(trial.config.get(axis, "")) for axis in axes),
            str(last.get("status")) if last.get("status") == "diverged" else trial.status.lower(),
            str(last.get("epoch", "")),
            "" if value is None else f"{value:.3f}",
            "" if seconds is None else f"{seconds:.0f}",
        ]
