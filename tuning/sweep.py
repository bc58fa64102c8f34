"""The sweep: the `Tuner`, its resume, and the way from its trials to the champion's test report."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler

from data.dataset.splits import read_split
from tuning.config.run_dir import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.evaluation.artifacts import TestReport
from tuning.evaluation.evaluate import Contender, evaluate_run
from tuning.prepare import PreparedData
from tuning.report.findings import FindingsError, gather
from tuning.report.page import write_report
from tuning.search.algorithms import Search, build_search, finals_search
from tuning.search.leaderboard import TrialResult, best_choices, champion, rank, summarise_trial, usable, write_results
from tuning.tracking.callbacks import TrackingCallback, TrialTable
from tuning.tracking.events import Journal
from tuning.tracking.mlflow_writer import Reporting, reporting
from tuning.tracking.outbox import Spool
from tuning.tracking.system_metrics import machine_watched
from tuning.training.bootstrap import ScoreIntervals, answer_intervals
from tuning.training.checkpoint import CheckpointError, Manifest, copy_champion, load_validation, verified_manifest
from tuning.trial.driver import DRIVER_RESTARTS, placement, run_trial
from tuning.trial.spec import Slot, TrialJob


class Interrupted(Exception):
    """The sweep was stopped by a signal before all trials ended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sweep came to."""

    run: RunFolder
    ranked: list[TrialResult]
    champion: TrialResult
    test: TestReport
    page: Path
    """The report."""
    model_version: str
    """Of the registered model; empty while MLflow is away."""
    promotion: str
    """What became of that version, in a line; empty while MLflow is away."""
    unsent: str = ""
    """What MLflow has not got and why, in a line."""


def run_sweep(
    run: RunFolder, config: SweepConfig, prepared: PreparedData, slot: Slot, at_once: int, *, verbose: bool
) -> list[TrialResult]:
    """Run all trials, or those that an earlier process left unfinished, on the connected Ray.

    Args:
        run: a folder made by `new_run`.
        config: its settings.
        prepared: its clips.
        slot: what each trial takes.
        at_once: trials at once.
        verbose: show Tune's own messages.

    Raises:
        Interrupted: stopped by a signal; a later call goes on.
        SpoolBusy: another process is at work on the run.
    """
    # Tune's older output takes a reporter of one's own; the newer prints each trial's settings and results.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    if config.resources.max_concurrent is not None:
        # An autoscaler starts nodes for what waits: for all that may run at once, not for one after another.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(config.resources.max_concurrent)
    job = TrialJob(sweep=config, data=prepared.trial_data(), slot=slot, checkpoints=str(run.checkpoints))
    with reporting(run) as report:
        report.journal.open_sweep()
        stage = _Stage(run, config, job, at_once, verbose)
        try:
            # The machine first: it imports MLflow, as the sender's thread does; both at once may wait for each other.
            with _machine(report, config), report.sender.running():
                results = stage.run(run.tuner, build_search(config))
                if config.search.finalists is not None:
                    best = best_choices(results, config.search.metric, config.search.finalists.top)
                    if best:
                        results = stage.run(run.finals, finals_search(config, best))
        except Interrupted:
            _send(report, patience=0)
            raise
    return results


def _machine(report: Reporting, config: SweepConfig) -> contextlib.AbstractContextManager[None]:
    if not config.tracking.system_metrics:
        return contextlib.nullcontext()
    return machine_watched(report.journal.see_machine)


def _send(report: Reporting, patience: float) -> None:
    """What MLflow has not got yet; what is left then is told."""
    unsent = report.send(patience)
    if unsent:
        print(f"note: {unsent}", flush=True)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the search and the finals have in common."""

    sweep_folder: RunFolder
    config: SweepConfig
    job: TrialJob
    at_once: int
    verbose: bool

    def run(self, folder: Path, search: Search) -> list[TrialResult]:
        """Run all trials of one `Tuner`, or those that were left unfinished; returns all trials of the run so far."""
        print(f"{search.samples} trials, {min(self.at_once, search.samples)} at once", flush=True)
        tuner = _restored(folder, self.job) or self._new_tuner(folder, search)
        tuner.fit()
        results = read_trials(self.sweep_folder, self.config)
        write_results(rank(results, self.config.search.metric), self.sweep_folder.results)
        # A new one: what the trials told meanwhile was told by Tune's callback.
        journal = Journal(Spool(self.sweep_folder.spool))
        journal.end_trials(results)
        # Tune makes a trial when there is room for it: one that is missing was never begun.
        begun = len(tune.ExperimentAnalysis(str(folder)).trials)
        if begun < search.samples or any(row.status == "unfinished" for row in results):
            journal.end_sweep("KILLED")
            raise Interrupted
        return results

    def _new_tuner(self, folder: Path, search: Search) -> tune.Tuner:
        asha = isinstance(search.scheduler, AsyncHyperBandScheduler)
        return tune.Tuner(
            _trainable(self.job),
            param_space=search.space,
            tune_config=tune.TuneConfig(
                # A scheduler that stops trials has the metric already, and Tune takes it once.
                metric=None if asha else self.config.search.metric,
                mode=None if asha else "max",
                search_alg=search.algorithm,
                scheduler=search.scheduler,
                num_samples=search.samples,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                callbacks=[TrackingCallback(Spool(self.sweep_folder.spool))],
                progress_reporter=TrialTable(self.config.search.metric, search.samples, self.sweep_folder.checkpoints),
                verbose=2 if self.verbose else 1,
                failure_config=tune.FailureConfig(max_failures=DRIVER_RESTARTS),
            ),
        )


def finish(run: RunFolder, config: SweepConfig, results: list[TrialResult]) -> Outcome:
    """Choose the champion by validation, register it, then evaluate it on the test split.

    Raises:
        NoChampion: no trial ended with a usable model.
    """
    patience = config.tracking.patience
    with reporting(run) as report:
        try:
            winner = champion(results, config.search.metric, config.search.finalist_seeds)
        except ValueError:
            report.journal.end_sweep("FAILED")
            _send(report, patience)
            raise
        copy_champion(Path(winner.checkpoint), run.best, config.test.max_risk)
        report.journal.choose_champion(winner.id, config.tracking.model_name)
        unsent = report.send(patience)
        test = evaluate_run(run, contenders(results, winner, config.search.metric), progress=False)
        report.journal.report_test(config.tracking.promote)
        ranked = rank(results, config.search.metric)
        page = write_report(gather(run, ranked, winner))
        report.journal.report_page()
        report.journal.end_sweep("FINISHED")
        unsent = report.send(0 if unsent else patience)
        return Outcome(run, ranked, winner, test, page, report.writer.registered, report.writer.promotion, unsent)


def report_anew(run: RunFolder) -> Path:
    """Make the report of a sweep that has ended once more; the test split is not touched.

    Raises:
        ConfigError: it is no run.
        FindingsError: it has no test report yet, or the trials' checkpoints are gone.
        NoChampion: no trial ended with a usable model.
    """
    config = run.read_config()
    if not run.tuner.exists():
        raise FindingsError(f"{run.path / 'ray'} is gone, and with it the trials: a report can't be made without them")
    page = write_report(gather(run, *_ended(run, config)))
    if run.tracking.exists():
        with reporting(run) as report:
            report.journal.report_page()
            _send(report, patience=0)
    return page


def contenders(results: Sequence[TrialResult], winner: TrialResult, metric: str) -> list[Contender]:
    """The best trial of each architecture but the champion's."""
    best: dict[str, TrialResult] = {}
    for row in rank([row for row in results if usable(row)], metric):
        best.setdefault(row.arch, row)
    return [Contender(row.title, Path(row.checkpoint)) for arch, row in best.items() if arch != winner.arch]


def contenders_of(run: RunFolder) -> list[Contender]:
    """The same of a sweep that has ended; none if its trials are gone."""
    if not run.tuner.exists():
        return []
    config = run.read_config()
    return contenders(*_ended(run, config), config.search.metric)


def _ended(run: RunFolder, config: SweepConfig) -> tuple[list[TrialResult], TrialResult]:
    """The trials of a sweep that has ended, best first, and its champion."""
    ranked = rank(read_trials(run, config), config.search.metric)
    return ranked, champion(ranked, config.search.metric, config.search.finalist_seeds)


def read_trials(run: RunFolder, config: SweepConfig) -> list[TrialResult]:
    """Every trial of the run, finalists included, as Tune left it on disk."""
    groups = read_split(run.split).groups
    # It warns of each trial that has not reported yet.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    stages = [tune.ExperimentAnalysis(str(folder)) for folder in (run.tuner, run.finals) if folder.exists()]
    rows = [
        summarise_trial(
            trial.trial_id,
            trial.config,
            trial.status,
            trial.last_result if "epoch" in (trial.last_result or {}) else None,
            _whole_checkpoints(run.checkpoints / trial.trial_id),
            config,
            str(trial.get_error() or ""),
        )
        for stage in stages
        for trial in stage.trials
    ]
    return [replace(row, intervals=_intervals(Path(row.checkpoint), groups)) if row.checkpoint else row for row in rows]


def _intervals(checkpoint: Path, groups: Mapping[str, str]) -> ScoreIntervals:
    answers = load_validation(checkpoint)
    return answer_intervals(answers, [groups[clip] for clip in answers.clip_ids])


def _whole_checkpoints(train_run: Path) -> dict[Path, Manifest]:
    """A process that was killed while it wrote leaves half a checkpoint; what Tune knew of them may be older yet."""
    whole = {}
    for path in sorted(train_run.glob("checkpoint_*/")):
        try:
            whole[path] = verified_manifest(path)
        except CheckpointError as error:
            print(f"note: a checkpoint is passed over: {error}", flush=True)
    return whole


def _restored(folder: Path, job: TrialJob) -> tune.Tuner | None:
    if not tune.Tuner.can_restore(str(folder)):
        return None
    return tune.Tuner.restore(str(folder), _trainable(job), resume_unfinished=True)


def _trainable(job: TrialJob) -> Any:
    return tune.with_resources(tune.with_parameters(run_trial, job=job), placement(job.slot))
