"""Run the trials of a sweep, or those that an earlier process left unfinished."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.prepare.clips import PreparedData
from tuning.search.algorithms import TuneSearch, build_finals_search, build_search
from tuning.search.leaderboard import best_choices, rank_trials, write_leaderboard
from tuning.search.trial_result import TrialResult
from tuning.search.tune_results import read_trials
from tuning.tracking.callbacks import TrackingCallback
from tuning.tracking.events import EventLog
from tuning.tracking.outbox import Outbox
from tuning.tracking.system_metrics import sample_system_metrics
from tuning.tracking.tracker import Tracker, open_tracker
from tuning.tracking.trial_table import TrialTable
from tuning.trial.driver import DRIVER_RESTARTS, run_trial, trial_resources
from tuning.trial.spec import Slot, TrialJob


class Interrupted(Exception):
    """The sweep was stopped by a signal before all trials ended."""


def run_sweep(
    run: RunFolder, config: SweepConfig, prepared: PreparedData, slot: Slot, max_concurrent: int, *, verbose: bool
) -> list[TrialResult]:
    """Run all trials, or those that an earlier process left unfinished, on the connected Ray.

    Args:
        run: a folder created by `new_run`.
        config: its settings.
        prepared: its clips.
        slot: resources of one trial.
        max_concurrent: trials that run concurrently.
        verbose: show Tune's own messages.

    Raises:
        Interrupted: the sweep was stopped by a signal; a later call resumes it.
        OutboxLocked: another process works on the run.
    """
    if not config.resources.reuse_workers:
        # Ray Train reserves the workers' resources then: Tune can't know how many trials fit.
        limited = config.resources.model_copy(update={"max_concurrent": max_concurrent})
        config = config.model_copy(update={"resources": limited})
    # Tune's older output accepts a custom reporter; the newer one prints every trial's settings and results.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    if config.resources.max_concurrent is not None:
        # An autoscaler starts nodes for pending trials: request all that may run concurrently, not one after another.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(config.resources.max_concurrent)
    job = TrialJob(sweep=config, data=prepared.trial_data(), slot=slot, checkpoints=str(run.checkpoints))
    TrackingCallback.outbox_of_sweep = Outbox(run.outbox)
    with open_tracker(run) as tracker:
        tracker.events.log_sweep_opened()
        stage = _Stage(run, config, job, max_concurrent, verbose)
        try:
            # System metrics first: they import MLflow, and so does the sender's thread; importing it in two threads at
            # the same time can deadlock.
            with _system_metrics(tracker, config), tracker.sender.running():
                results = stage.run(run.search_state, build_search(config))
                if config.search.finalists is not None:
                    best = best_choices(results, config.search.metric, config.search.finalists.top)
                    if best:
                        results = stage.run(run.finals_state, build_finals_search(config, best))
        except Interrupted:
            tracker.flush(patience=0)
            raise
    return results


def _system_metrics(tracker: Tracker, config: SweepConfig) -> contextlib.AbstractContextManager[None]:
    if not config.tracking.system_metrics:
        return contextlib.nullcontext()
    return sample_system_metrics(tracker.events.log_system_metrics)


@dataclass(frozen=True, slots=True)
class _Stage:
    """One `Tuner`: the search, or the finals after it."""

    sweep_folder: RunFolder
    config: SweepConfig
    job: TrialJob
    max_concurrent: int
    verbose: bool

    def run(self, folder: Path, search: TuneSearch) -> list[TrialResult]:
        """Run all trials, or those that were left unfinished; return all trials of the run so far."""
        print(f"{search.num_samples} trials, {min(self.max_concurrent, search.num_samples)} concurrently", flush=True)
        tuner = _restored(folder, self.job) or self._new_tuner(folder, search)
        tuner.fit()
        results = read_trials(self.sweep_folder, self.config)
        write_leaderboard(rank_trials(results, self.config.search.metric), self.sweep_folder.results)
        # Read the events again: Tune's callback has written to it in the meantime.
        events = EventLog(Outbox(self.sweep_folder.outbox))
        events.log_trial_ends(results)
        # Tune creates a trial when a slot is free: a missing one was never started.
        started = len(tune.ExperimentAnalysis(str(folder)).trials)
        if started < search.num_samples or any(row.status == "unfinished" for row in results):
            events.log_sweep_end("KILLED")
            raise Interrupted
        return results

    def _new_tuner(self, folder: Path, search: TuneSearch) -> tune.Tuner:
        return tune.Tuner(
            _trainable(self.job),
            param_space=search.space,
            tune_config=tune.TuneConfig(
                metric=self.config.search.metric,
                mode="max",
                search_alg=search.algorithm,
                scheduler=search.scheduler,
                num_samples=search.num_samples,
                reuse_actors=self.config.resources.reuse_workers,
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                callbacks=[TrackingCallback(Outbox(self.sweep_folder.outbox))],
                progress_reporter=TrialTable(
                    self.config.search.metric, search.num_samples, self.sweep_folder.checkpoints
                ),
                verbose=2 if self.verbose else 1,
                failure_config=tune.FailureConfig(max_failures=DRIVER_RESTARTS),
            ),
        )


def _restored(folder: Path, job: TrialJob) -> tune.Tuner | None:
    if not tune.Tuner.can_restore(str(folder)):
        return None
    return tune.Tuner.restore(str(folder), _trainable(job), resume_unfinished=True)


def _trainable(job: TrialJob) -> Any:
    resources = trial_resources(job.slot, reuse_workers=job.sweep.resources.reuse_workers)
    return tune.with_resources(tune.with_parameters(run_trial, job=job), resources)
