"""From the trials of a sweep to its result: the champion, its test report, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.evaluation.evaluate import Contender, evaluate_run
from tuning.report.findings import ReportError
from tuning.report.gather import gather_findings
from tuning.report.page import write_report
from tuning.search.leaderboard import rank_trials, select_champion, write_leaderboard
from tuning.search.trial_result import TrialResult, is_usable
from tuning.search.tune_results import read_trials
from tuning.text import count_noun
from tuning.tracking.tracker import open_tracker
from tuning.training.checkpoint import copy_champion
from tuning.training.evaluation_metrics import EvaluationMetrics


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a sweep."""

    run: RunFolder
    ranked: list[TrialResult]
    champion: TrialResult
    test: EvaluationMetrics
    page: Path
    """The report's HTML file."""
    model_version: str
    """Version of the registered model; empty if MLflow did not respond."""
    promotion: str
    """Whether that version was promoted, in one line; empty if MLflow did not respond."""
    unsent: str = ""
    """Which entries MLflow has not received and why, in one line."""


def finish(run: RunFolder, config: SweepConfig, results: list[TrialResult]) -> Outcome:
    """Choose the champion by validation, register it, then evaluate it on the test split.

    Raises:
        NoChampionError: no trial has a usable model.
    """
    patience = config.tracking.patience
    with open_tracker(run) as tracker:
        try:
            winner = select_champion(results, config.search.metric, config.search.finalist_seeds)
        except ValueError:
            tracker.events.log_sweep_end("FAILED")
            tracker.flush(patience)
            raise
        copy_champion(Path(winner.checkpoint), run.best, config.test.max_risk)
        tracker.events.log_champion(winner.id, config.tracking.model_name)
        unsent = tracker.send(patience)
        test = evaluate_run(run, contenders(results, winner, config.search.metric), progress=False)
        tracker.events.log_test(config.tracking.promote)
        ranked = rank_trials(results, config.search.metric)
        page = write_report(gather_findings(run, ranked, winner))
        tracker.events.log_report()
        tracker.events.log_sweep_end("FINISHED")
        unsent = tracker.send(0 if unsent else patience)
        return Outcome(run, ranked, winner, test, page, tracker.writer.model_version, tracker.writer.promotion, unsent)


def finish_early(run: RunFolder) -> Outcome:
    """End a stopped sweep with the champion of the trials that are done; without finished finalists, of the search.

    Raises:
        ConfigError: the folder is not a run.
        NoChampionError: no trial is done.
        OutboxLocked: the sweep is still running.
    """
    config = run.read_config()
    with open_tracker(run) as tracker:
        results = read_trials(run, config)
        done = sum(map(is_usable, results))
        print(f"{run.path.name} ends with {done} of the {count_noun(len(results), 'trial')} that started", flush=True)
        write_leaderboard(rank_trials(results, config.search.metric), run.results)
        tracker.events.log_trial_ends(results)
    return finish(run, config, results)


def rebuild_report(run: RunFolder, data: Path | None = None) -> Path:
    """Write the report of a finished sweep again, without using the test split.

    Args:
        run: the run.
        data: folder of the clips; default: where the sweep read them, or where they were moved to with the run.

    Raises:
        ConfigError: the folder is not a run.
        DataError: `data` lacks a clip that the page shows, or has another file of its name.
        ReportError: the run has no test report yet, or the checkpoints of its trials were deleted.
        NoChampionError: no trial has a usable model.
    """
    config = run.read_config()
    if not run.search_state.exists():
        raise ReportError(f"{run.path / 'ray'} is missing, which holds the trials: restore it to write the report")
    page = write_report(gather_findings(run, *_finished_trials(run, config)), data)
    if run.tracking.exists():
        with open_tracker(run) as tracker:
            tracker.events.log_report()
            tracker.flush(patience=0)
    return page


def contenders(results: Sequence[TrialResult], winner: TrialResult, metric: str) -> list[Contender]:
    """Return the best trial of each architecture other than the champion's."""
    best: dict[str, TrialResult] = {}
    for row in rank_trials([row for row in results if is_usable(row)], metric):
        best.setdefault(row.arch, row)
    return [Contender(row.title, Path(row.checkpoint)) for arch, row in best.items() if arch != winner.arch]


def read_contenders(run: RunFolder) -> list[Contender]:
    """Return the contenders of a finished sweep; none if its trials were deleted."""
    if not run.search_state.exists():
        return []
    config = run.read_config()
    return contenders(*_finished_trials(run, config), config.search.metric)


def _finished_trials(run: RunFolder, config: SweepConfig) -> tuple[list[TrialResult], TrialResult]:
    """Return the trials of a finished sweep, best first, and its champion."""
    ranked = rank_trials(read_trials(run, config), config.search.metric)
    return ranked, select_champion(ranked, config.search.metric, config.search.finalist_seeds)
