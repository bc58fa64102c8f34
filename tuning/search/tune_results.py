"""Read the results of a run's trials from Tune's files and the checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ray import tune

from data.dataset.splits import read_split
from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.search.trial_result import TrialResult, summarise_trial
from tuning.training.bootstrap import ScoreIntervals, score_intervals
from tuning.training.checkpoint import CheckpointError, Manifest, load_validation_predictions, verify_checkpoint


def read_trials(run: RunFolder, config: SweepConfig) -> list[TrialResult]:
    """Return the result of every trial of a run, including finalists and unfinished trials."""
    groups = read_split(run.split).groups
    # ExperimentAnalysis warns about each trial that has not reported yet.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    folders = [folder for folder in (run.search_state, run.finals_state) if folder.exists()]
    rows = [
        summarise_trial(
            trial.trial_id,
            trial.config,
            trial.status,
            trial.last_result if "epoch" in (trial.last_result or {}) else None,
            _intact_checkpoints(run.checkpoints / trial.trial_id),
            config,
            str(trial.get_error() or ""),
        )
        for folder in folders
        for trial in tune.ExperimentAnalysis(str(folder)).trials
    ]
    return [replace(row, intervals=_intervals(Path(row.checkpoint), groups)) if row.checkpoint else row for row in rows]


def _intervals(checkpoint: Path, groups: Mapping[str, str]) -> ScoreIntervals:
    predictions = load_validation_predictions(checkpoint)
    return score_intervals(predictions, [groups[clip] for clip in predictions.clip_ids])


def _intact_checkpoints(train_run: Path) -> dict[Path, Manifest]:
    """Return the intact checkpoints of a trial: a killed process leaves a partial one, and Tune's list may be old."""
    intact = {}
    for path in sorted(train_run.glob("checkpoint_*/")):
        try:
            intact[path] = verify_checkpoint(path)
        except CheckpointError as error:
            print(f"note: ignoring a corrupt checkpoint: {error}", flush=True)
    return intact
