"""The results of a sweep as values; `gather` reads them, `plots`, `tables` and `page` show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.dataset.splits import Split
from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.errors import TuningError
from tuning.evaluation.artifacts import CalibratedPredictions
from tuning.evaluation.frame_order import OrderProbe
from tuning.evaluation.importance import AxisImportance
from tuning.evaluation.label_issues import LabelIssue
from tuning.evaluation.paired import PairedComparison
from tuning.evaluation.usage_log import UsageCount
from tuning.report.provenance import RunProcess
from tuning.search.trial_result import TrialResult, is_usable
from tuning.training.bootstrap import Interval
from tuning.training.calibration import Calibration, ReliabilityBin, RiskCoveragePoint, expected_calibration_error
from tuning.training.checkpoint import Manifest
from tuning.training.evaluation_metrics import EvaluationMetrics
from tuning.training.timing import PHASES

_METRIC_TITLES = {"val_macro_f1": "validation macro-F1", "val_accuracy": "validation accuracy"}


class ReportError(TuningError):
    """The run folder lacks what the report needs."""


@dataclass(frozen=True, slots=True)
class SplitReliability:
    """How well the champion's probabilities match its accuracy on one split."""

    before: tuple[ReliabilityBin, ...]
    """With plain softmax."""
    after: tuple[ReliabilityBin, ...]
    """With the temperature."""
    risk: tuple[RiskCoveragePoint, ...]
    """Risk at each coverage, with the temperature."""

    @property
    def ece_before(self) -> float:
        """Expected calibration error with plain softmax."""
        return expected_calibration_error(self.before)

    @property
    def ece_after(self) -> float:
        """Expected calibration error with the temperature."""
        return expected_calibration_error(self.after)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test clip for which the champion predicts another class than its label."""

    clip: str
    label: str
    predicted: str
    probability: float
    """Of the predicted class."""


@dataclass(frozen=True, slots=True)
class SweepFindings:
    """The results of one sweep, and what is computed from them."""

    run: RunFolder
    config: SweepConfig
    split: Split
    classes: tuple[str, ...]
    train_clips: Mapping[str, int]
    """Training clips of each class; with folds, all clips but the test clips."""
    rare: tuple[str, ...]
    """Classes with fewer than half an even share of the training clips."""
    left_out: tuple[tuple[str, str], ...]
    """Path and reason of each clip that is in no split."""
    trials: tuple[TrialResult, ...]
    """Best first."""
    champion: TrialResult
    manifest: Manifest
    """Of the champion's checkpoint."""
    test: EvaluationMetrics
    predicted: CalibratedPredictions
    """Of the champion, for the test clips."""
    calibration: Calibration
    validation_reliability: SplitReliability
    test_reliability: SplitReliability
    comparisons: tuple[PairedComparison, ...]
    """Samplers and losses; the first compares `imbalanced` and `balanced`."""
    probes: tuple[OrderProbe, ...]
    """The champion's probe first."""
    importance: tuple[AxisImportance, ...]
    """The most important axis first; empty with too few trials."""
    mistakes: tuple[Mistake, ...]
    """The most confident first."""
    label_issues: tuple[LabelIssue, ...]
    """Among the validation clips, the least probable label first."""
    uses: UsageCount
    """Of the test split."""
    flops: Mapping[str, int]
    """FLOPs of a trial's model for one clip, by the trial's ID."""
    processes: tuple[RunProcess, ...]
    """That worked on the run, in order."""

    @property
    def metric(self) -> str:
        """Metric that ranks the trials: `val_macro_f1` or `val_accuracy`."""
        return self.config.search.metric

    @property
    def metric_title(self) -> str:
        """Metric that ranks the trials, in words."""
        return _METRIC_TITLES[self.metric]

    @property
    def scored_trials(self) -> list[TrialResult]:
        """The trials that have a model and a score, best first."""
        return [row for row in self.trials if is_usable(row) and not math.isnan(getattr(row, self.metric))]

    def score_interval(self, row: TrialResult) -> Interval | None:
        """Return the interval of a trial's score; None without a checkpoint."""
        if row.intervals is None:
            return None
        return row.intervals.macro_f1 if self.metric == "val_macro_f1" else row.intervals.accuracy

    @property
    def num_answered(self) -> int:
        """Test clips on which the champion does not abstain."""
        return int(self._answered.sum())

    @property
    def num_answered_wrong(self) -> int:
        """Test clips on which the champion does not abstain and is wrong."""
        wrong = self.predicted.probabilities.argmax(1) != self.predicted.predictions.labels.numpy()
        return int((self._answered & wrong).sum())

    @property
    def _answered(self) -> np.ndarray:
        return self.predicted.probabilities.max(1) >= self.calibration.threshold

    def seconds(self, row: TrialResult) -> dict[str, float]:
        """Return a trial's seconds by phase (`PHASES`), without those that a restart lost."""
        return {phase: sum(epoch.get(f"seconds_{phase}", 0.0) for epoch in row.history) for phase in PHASES}

    @property
    def phase_shares(self) -> dict[str, float]:
        """Share of the trials' time in each phase but `start`; empty if no trial finished an epoch."""
        trials = [self.seconds(row) for row in self.trials]
        seconds = {phase: sum(each[phase] for each in trials) for phase in PHASES if phase != "start"}
        total = sum(seconds.values())
        return {phase: each / total for phase, each in seconds.items()} if total else {}

    @property
    def slot_utilisation(self) -> float | None:
        """Share of the slots' time in which a trial was running; None if a process was killed."""
        ended = [each for each in self.processes if each.seconds_trials is not None and each.max_concurrent is not None]
        if not ended or len(ended) < len(self.processes):
            return None
        available = sum((each.seconds_trials or 0.0) * (each.max_concurrent or 0) for each in ended)
        used = sum(sum(self.seconds(row).values()) for row in self.trials)
        return used / available if available else None
