"""All that a sweep lets one conclude, gathered from its run's folder; of the test split only what `evaluate` wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset.splits import LEFT_OUT, Split, read_split
from models.cost import model_cost
from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.errors import TuningError
from tuning.evaluation.artifacts import METRICS, Answers, TestReportError, read_predictions, read_probes
from tuning.evaluation.frame_order import OrderProbe
from tuning.evaluation.importance import Importance, importances
from tuning.evaluation.label_issues import LabelIssue, label_issues
from tuning.evaluation.paired import Comparison, class_counts, compare, rare_classes
from tuning.evaluation.usage_log import Uses, count_uses
from tuning.report.provenance import Process, read_processes
from tuning.search.trial_result import TrialResult
from tuning.training.calibration import (
    Calibration,
    ReliabilityBin,
    RiskCoveragePoint,
    expected_calibration_error,
    reliability_bins,
    risk_coverage_curve,
)
from tuning.training.checkpoint import Manifest, load_validation_predictions, read_manifest
from tuning.training.predictions import Predictions
from tuning.training.timing import PHASES


class FindingsError(TuningError):
    """A run of which no report can be made."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well probabilities fit on one split, plain and tempered."""

    before: tuple[ReliabilityBin, ...]
    after: tuple[ReliabilityBin, ...]
    risk: tuple[RiskCoveragePoint, ...]
    """By how many clips are answered, with tempered probabilities."""

    @property
    def ece_before(self) -> float:
        """Expected calibration error of plain softmax."""
        return expected_calibration_error(self.before)

    @property
    def ece_after(self) -> float:
        """The same with the temperature."""
        return expected_calibration_error(self.after)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test clip that the champion takes for another class."""

    clip: str
    label: str
    predicted: str
    probability: float
    """Of the class predicted."""


@dataclass(frozen=True, slots=True)
class Findings:
    """One sweep's results and what follows from them."""

    run: RunFolder
    config: SweepConfig
    split: Split
    classes: tuple[str, ...]
    train_clips: Mapping[str, int]
    """Of each class; with folds, of all clips but the test's."""
    rare: tuple[str, ...]
    trials: tuple[TrialResult, ...]
    """Best first."""
    champion: TrialResult
    manifest: Manifest
    test: Mapping[str, Any]
    """What `test/metrics.json` holds."""
    answers: Answers
    calibration: Calibration
    validation_fit: Reliability
    test_fit: Reliability
    comparisons: tuple[Comparison, ...]
    probes: tuple[OrderProbe, ...]
    importance: tuple[Importance, ...]
    mistakes: tuple[Mistake, ...]
    """The most confident first."""
    label_issues: tuple[LabelIssue, ...]
    """Among the validation clips."""
    uses: Uses
    flops: Mapping[str, int]
    """Of a trial's model for one clip, by the trial's id."""
    processes: tuple[Process, ...]

    @property
    def metric(self) -> str:
        """What decided between trials."""
        return self.config.search.metric

    @property
    def answered(self) -> tuple[int, int]:
        """Test clips that the champion answers, and how many of these it gets wrong."""
        sure = self.answers.probabilities.max(1) >= self.calibration.threshold
        wrong = self.answers.probabilities.argmax(1) != self.answers.predictions.labels.numpy()
        return int(sure.sum()), int((sure & wrong).sum())

    def seconds(self, row: TrialResult) -> dict[str, float]:
        """Where a trial's time went, by `PHASES`; what was lost by restarts is not in it."""
        return {kind: sum(epoch.get(f"seconds_{kind}", 0.0) for epoch in row.history) for kind in PHASES}

    @property
    def shares(self) -> dict[str, float]:
        """Of the trials' time after their start, by the others of `PHASES`; empty if none had an epoch."""
        spent = [self.seconds(row) for row in self.trials]
        seconds = {kind: sum(each[kind] for each in spent) for kind in PHASES if kind != "start"}
        whole = sum(seconds.values())
        return {kind: each / whole for kind, each in seconds.items()} if whole else {}

    @property
    def filled(self) -> float | None:
        """Share of the time of all places for trials in which a trial was at work, if it is known of each process."""
        ended = [each for each in self.processes if each.seconds_trials is not None and each.at_once is not None]
        if not ended or len(ended) < len(self.processes):
            return None
        places = sum((each.seconds_trials or 0.0) * (each.at_once or 0) for each in ended)
        return sum(sum(self.seconds(row).values()) for row in self.trials) / places if places else None


def gather(run: RunFolder, trials: Sequence[TrialResult], champion: TrialResult) -> Findings:
    """Gather a run's findings; nothing of it is decided by the test split.

    Args:
        run: with a champion that was tested.
        trials: all of them, with their checkpoints still there.
        champion: one of these.

    Raises:
        CheckpointError: a checkpoint is missing or damaged.
        ConfigError: it is no run.
        FindingsError: the test report is missing or of another champion.
        TestReportError: it is damaged.
    """
    config, split, manifest = run.read_config(), read_split(run.split), read_manifest(run.best)
    classes, metric = manifest.classes, config.search.metric
    test = _read_test(run, manifest)
    answers, calibration = read_predictions(run.test, classes), Calibration.load(run.best)
    validation = load_validation_predictions(run.best)
    learnt = {clip.path: clip.label for each in split.rounds() for clip in each.train}
    train_clips = class_counts(list(learnt.values()), classes)
    tempered = calibration.probabilities(validation.logits).double().numpy()
    return Findings(
        run=run,
        config=config,
        split=split,
        classes=classes,
        train_clips=train_clips,
        rare=rare_classes(train_clips),
        trials=tuple(trials),
        champion=champion,
        manifest=manifest,
        test=test,
        answers=answers,
        calibration=calibration,
        validation_fit=_fit(validation, calibration),
        test_fit=_fit(_plain(answers.predictions, calibration), calibration),
        comparisons=tuple(_comparisons(trials, metric, split.groups, train_clips)),
        probes=tuple(read_probes(run.test)),
        importance=tuple(importances([row for row in trials if row.stage == "search"], metric)),
        mistakes=tuple(_mistakes(answers, classes)),
        label_issues=tuple(label_issues(validation.clip_ids, validation.labels.numpy(), tempered, classes)),
        uses=count_uses(run, split),
        flops=_flops(config, trials, len(classes)),
        processes=tuple(read_processes(run.provenance)),
    )


def _read_test(run: RunFolder, manifest: Manifest) -> dict[str, Any]:
    file = run.test / METRICS
    try:
        test = json.loads(file.read_text())
        tested = test["checkpoint_sha256"]
    except OSError as error:
        raise FindingsError(f"no test report in {run.test} ({error.strerror}): run evaluate first") from None
    except (ValueError, KeyError) as error:
        raise TestReportError(f"{file} is damaged ({error}): evaluate the run anew") from None
    if tested != manifest.model_sha256:
        raise FindingsError(f"{run.test} is of another champion than {run.best}: evaluate the run anew")
    return dict(test)


def _plain(tempered: Predictions, calibration: Calibration) -> Predictions:
    """Logits up to a constant, from the logarithms of the tempered probabilities."""
    return Predictions(tempered.clip_ids, tempered.labels, tempered.logits * calibration.temperature)


def _fit(predictions: Predictions, calibration: Calibration) -> Reliability:
    labels = predictions.labels.numpy()
    before = predictions.logits.double().softmax(1).numpy()
    after = calibration.probabilities(predictions.logits).double().numpy()
    right = after.argmax(1) == labels
    return Reliability(
        reliability_bins(before, labels),
        reliability_bins(after, labels),
        tuple(risk_coverage_curve(after.max(1), right)),
    )


_SIDES = (
    ("sampler", "imbalanced", "balanced"),
    ("sampler", "imbalanced", "sqrt"),
    ("loss", "plain", "weighted"),
)


def _comparisons(
    trials: Sequence[TrialResult], metric: str, groups: Mapping[str, str], train_clips: Mapping[str, int]
) -> list[Comparison]:
    """What the sweep tried of the ways to balance, and the plainest of them in any case."""
    tried = {axis: {str(row.choice[axis]) for row in trials} for axis in ("sampler", "loss")}
    return [
        compare(trials, axis, first, second, metric=metric, groups=groups, train_clips=train_clips)
        for number, (axis, first, second) in enumerate(_SIDES)
        if number == 0 or {first, second} <= tried[axis]
    ]


def _mistakes(answers: Answers, classes: Sequence[str]) -> list[Mistake]:
    probabilities = answers.probabilities
    predicted, labels = probabilities.argmax(1), answers.predictions.labels.numpy()
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-probabilities.max(1)[wrong], kind="stable")]
    return [
        Mistake(
            answers.predictions.clip_ids[at],
            classes[labels[at]],
            classes[predicted[at]],
            float(probabilities[at, predicted[at]]),
        )
        for at in order.tolist()
    ]


def _flops(config: SweepConfig, trials: Sequence[TrialResult], num_classes: int) -> dict[str, int]:
    known: dict[str, int] = {}
    found = {}
    for row in trials:
        trial = TrialConfig.from_choice(config, row.choice_with_seed)
        sizes = {"num_classes": num_classes, "num_frames": trial.num_frames, "size": trial.train.size}
        key = f"{trial.arch} {sorted(trial.options.items())} {sizes}"
        if key not in known:
            known[key] = model_cost(trial.arch, trial.options, **sizes).flops
        found[row.id] = known[key]
    return found


def left_out(run: RunFolder, split: Split) -> list[tuple[str, str]]:
    """Clips that nothing was trained or tested on, each with why."""
    few = [(row.clip.path, "its class has fewer than three groups") for row in split.rows if row.split == LEFT_OUT]
    if not run.defects.is_file():
        return few
    with run.defects.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["what"] == "left out"]
    return [*few, *((row["path"], f"{row['defect']}: {row['detail']}") for row in rows)]
