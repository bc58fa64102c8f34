"""Read a finished run folder into `SweepFindings`.

Everything is read from the run's files, also right after the sweep, so that `report` writes the same page again. Of the
test split only the files that `evaluate` wrote are used.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence

import numpy as np

from data.dataset.splits import LEFT_OUT, Split, read_split
from models.cost import model_cost
from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.evaluation.artifacts import CalibratedPredictions, read_frame_order, read_predictions
from tuning.evaluation.evaluate import check_own_split
from tuning.evaluation.importance import axis_importance
from tuning.evaluation.label_issues import label_issues
from tuning.evaluation.paired import PairedComparison, class_counts, compare_pairs, rare_classes
from tuning.evaluation.usage_log import count_test_uses
from tuning.report.findings import Mistake, ReportError, SplitReliability, SweepFindings
from tuning.report.provenance import read_processes
from tuning.search.trial_result import TrialResult
from tuning.training.calibration import Calibration, reliability_bins, risk_coverage_curve
from tuning.training.checkpoint import Manifest, load_validation_predictions, read_manifest
from tuning.training.evaluation_metrics import METRICS_FILE, EvaluationMetrics
from tuning.training.predictions import Predictions


def gather_findings(run: RunFolder, trials: Sequence[TrialResult], champion: TrialResult) -> SweepFindings:
    """Gather the findings of a run; the test split decides nothing.

    Args:
        run: a run whose champion was evaluated.
        trials: all of its trials, with their checkpoints.
        champion: one of the trials.

    Raises:
        CheckpointError: a checkpoint is missing or damaged, or the split is not the one that the champion has.
        ConfigError: the folder is not a run.
        EvaluationError: the files in `test/` are missing or damaged.
        ReportError: the files in `test/` are of another champion.
    """
    config, split, manifest = run.read_config(), read_split(run.split), read_manifest(run.best)
    check_own_split(manifest, split.sha256, run)
    classes, metric = manifest.classes, config.search.metric
    test = _read_test_metrics(run, manifest)
    predicted, calibration = read_predictions(run.test, classes), Calibration.load(run.best)
    validation = load_validation_predictions(run.best)
    train_clips = _train_clips(split, classes)
    probabilities = calibration.probabilities(validation.logits).double().numpy()
    return SweepFindings(
        run=run,
        config=config,
        split=split,
        classes=classes,
        train_clips=train_clips,
        rare=rare_classes(train_clips),
        left_out=tuple(_left_out(run, split)),
        trials=tuple(trials),
        champion=champion,
        manifest=manifest,
        test=test,
        predicted=predicted,
        calibration=calibration,
        validation_reliability=_reliability(validation, calibration),
        test_reliability=_reliability(_uncalibrated(predicted.predictions, calibration), calibration),
        comparisons=tuple(_comparisons(trials, metric, split.groups, train_clips)),
        probes=tuple(read_frame_order(run.test)),
        importance=tuple(axis_importance([row for row in trials if row.stage == "search"], metric)),
        mistakes=tuple(_mistakes(predicted, classes)),
        label_issues=tuple(label_issues(validation.clip_ids, validation.labels.numpy(), probabilities, classes)),
        uses=count_test_uses(run, split),
        flops=_flops(config, trials, len(classes)),
        processes=tuple(read_processes(run.provenance)),
    )


def _read_test_metrics(run: RunFolder, manifest: Manifest) -> EvaluationMetrics:
    metrics = EvaluationMetrics.load(run.test / METRICS_FILE)
    if metrics.checkpoint_sha256 != manifest.model_sha256:
        raise ReportError(f"{run.test} is of another champion than {run.best}; run evaluate again")
    return metrics


def _train_clips(split: Split, classes: Sequence[str]) -> dict[str, int]:
    labels = {clip.path: clip.label for each in split.rounds() for clip in each.train}
    return class_counts(list(labels.values()), classes)


def _left_out(run: RunFolder, split: Split) -> list[tuple[str, str]]:
    few = [(row.clip.path, "its class has fewer than three groups") for row in split.rows if row.split == LEFT_OUT]
    return [*few, *read_failed_clips(run)]


def read_failed_clips(run: RunFolder) -> list[tuple[str, str]]:
    """Return the clips of a run that could not be decoded, each with the reason."""
    if not run.defects.is_file():
        return []
    with run.defects.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["what"] == "left out"]
    return [(row["path"], f"{row['defect']}: {row['detail']}") for row in rows]


def _uncalibrated(predicted: Predictions, calibration: Calibration) -> Predictions:
    """Return the model's logits, up to a constant, from the logarithms of the calibrated probabilities."""
    return Predictions(predicted.clip_ids, predicted.labels, predicted.logits * calibration.temperature)


def _reliability(predictions: Predictions, calibration: Calibration) -> SplitReliability:
    labels = predictions.labels.numpy()
    before = predictions.logits.double().softmax(1).numpy()
    after = calibration.probabilities(predictions.logits).double().numpy()
    correct = after.argmax(1) == labels
    return SplitReliability(
        reliability_bins(before, labels),
        reliability_bins(after, labels),
        tuple(risk_coverage_curve(after.max(1), correct)),
    )


_REFERENCES = {"sampler": "imbalanced", "loss": "plain"}
"""The value of each axis that the other values are compared with."""


def _comparisons(
    trials: Sequence[TrialResult], metric: str, groups: Mapping[str, str], train_clips: Mapping[str, int]
) -> list[PairedComparison]:
    """Compare `imbalanced` and `balanced` in any case, and the other values if the sweep tried both."""
    pairs = {("sampler", "imbalanced", "balanced"): None}
    for axis, reference in _REFERENCES.items():
        tried = {str(row.choice[axis]) for row in trials}
        if reference in tried:
            pairs |= {(axis, reference, other): None for other in sorted(tried - {reference})}
    return [compare_pairs(trials, *pair, metric=metric, groups=groups, train_clips=train_clips) for pair in pairs]


def _mistakes(predicted: CalibratedPredictions, classes: Sequence[str]) -> list[Mistake]:
    probabilities = predicted.probabilities
    best, labels = probabilities.argmax(1), predicted.predictions.labels.numpy()
    wrong = np.flatnonzero(best != labels)
    order = wrong[np.argsort(-probabilities.max(1)[wrong], kind="stable")]
    return [
        Mistake(
            predicted.predictions.clip_ids[index],
            classes[labels[index]],
            classes[best[index]],
            float(probabilities[index, best[index]]),
        )
        for index in order.tolist()
    ]


def _flops(config: SweepConfig, trials: Sequence[TrialResult], num_classes: int) -> dict[str, int]:
    """Return the FLOPs of each trial's model, computed once for equal models."""
    by_model: dict[str, int] = {}
    by_trial = {}
    for row in trials:
        trial = TrialConfig.from_choice(config, row.choice_with_seed)
        sizes = {"num_classes": num_classes, "num_frames": trial.num_frames, "size": trial.train.size}
        model = f"{trial.arch} {sorted(trial.options.items())} {sizes}"
        if model not in by_model:
            by_model[model] = model_cost(trial.arch, trial.options, **sizes).flops
        by_trial[row.id] = by_model[model]
    return by_trial
