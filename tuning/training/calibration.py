"""Calibrate a champion on the validation clips: the temperature of its softmax, and the threshold below which it
abstains."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from tuning.errors import TuningError
from tuning.training.class_probabilities import tempered_softmax
from tuning.training.predictions import Predictions

CALIBRATION_FILE = "calibration.json"
NUM_BINS = 10
_MAX_TEMPERATURE = 100.0


class CalibrationError(TuningError):
    """A calibration file cannot be read."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A champion's temperature and threshold, and their effect on the validation clips."""

    temperature: float
    """Probabilities are `softmax(logits / temperature)` (Guo et al. 2017, arXiv:1706.04599)."""
    threshold: float
    """The champion abstains if its highest probability is below this."""
    max_risk: float
    """Largest accepted share of wrong answers among the answers."""
    risk: float
    """Share of wrong answers among the answers, on validation."""
    coverage: float
    """Share of clips that are answered, on validation."""
    clips: int
    """Number of validation clips."""

    @property
    def meets_max_risk(self) -> bool:
        """Whether the risk on validation is at most `max_risk`."""
        return self.risk <= self.max_risk

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Convert logits `(N, K)` to float32 probabilities `(N, K)`."""
        return tempered_softmax(logits, self.temperature)

    def save(self, folder: Path) -> None:
        """Write the calibration to a champion's folder."""
        (folder / CALIBRATION_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """Read the calibration from a champion's folder; without a file, softmax as it is and no abstention.

        Raises:
            CalibrationError: the file is damaged.
        """
        try:
            calibration = cls(**json.loads((folder / CALIBRATION_FILE).read_text()))
            if not all(map(math.isfinite, astuple(calibration))) or calibration.temperature <= 0:
                raise ValueError("a value is out of range")
            return calibration
        except FileNotFoundError:
            return cls(temperature=1.0, threshold=0.0, max_risk=1.0, risk=1.0, coverage=1.0, clips=0)
        except (OSError, ValueError, TypeError) as error:
            raise CalibrationError(
                f"{folder / CALIBRATION_FILE} can't be read ({error}): restore it from MLflow, where it is "
                "among the artifacts of the champion's run, in checkpoint/"
            ) from None


def calibrate(predictions: Predictions, max_risk: float) -> Calibration:
    """Fit temperature and threshold to a champion's predictions of the validation clips.

    The threshold is just below the lowest one with which at most `max_risk` of the answers are wrong (Geifman and
    El-Yaniv 2017, arXiv:1705.08500, without their bound, which few clips never meet). If there is none, it is the
    threshold with the lowest risk.
    """
    logits, labels = predictions.logits.double().numpy(), predictions.labels.numpy()
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature, axis=1)
    points = risk_coverage_curve(probabilities.max(1), probabilities.argmax(1) == labels)
    accepted = [point for point in points if point.risk <= max_risk]
    chosen = accepted[-1] if accepted else min(points, key=lambda point: (point.risk, -point.coverage))
    threshold = _just_below(chosen, points)
    return Calibration(temperature, threshold, max_risk, chosen.risk, chosen.coverage, len(labels))


def _just_below(chosen: RiskCoveragePoint, points: Sequence[RiskCoveragePoint]) -> float:
    """Return a value between the chosen threshold and the next lower one, so that rounding cannot lose its clip."""
    lower = max((point.threshold for point in points if point.threshold < chosen.threshold), default=0.0)
    return max((chosen.threshold + lower) / 2, chosen.threshold * (1 - 1e-3))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature between 1/100 and 100 that minimises the negative log-likelihood.

    Args:
        logits: float64 `(N, K)`.
        labels: int `(N,)`.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(softmax(logits / np.exp(log_temperature), axis=1), labels)

    bound = np.log(_MAX_TEMPERATURE)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}).x))


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log-likelihood of labels `(N,)` under probabilities `(N, K)`."""
    likelihood = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions whose confidence, the highest probability, is in one range."""

    low: float
    high: float
    clips: int
    confidence: float
    """Their mean confidence; 0 without clips."""
    right: int
    """How many of them are right."""

    @property
    def accuracy(self) -> float:
        """Share of right predictions; 0 without clips."""
        return self.right / self.clips if self.clips else 0.0


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Sort predictions `(N, K)` by confidence into `NUM_BINS` bins of equal width."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bin_of_clip = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    return tuple(
        ReliabilityBin(
            number / NUM_BINS,
            (number + 1) / NUM_BINS,
            int(inside.sum()),
            float(confidence[inside].mean()) if inside.any() else 0.0,
            int(right[inside].sum()),
        )
        for number in range(NUM_BINS)
        for inside in [bin_of_clip == number]
    )


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Return the mean distance of confidence and accuracy, weighted by clips (Naeini et al. 2015, AAAI)."""
    total = sum(each.clips for each in bins)
    return sum(each.clips * abs(each.accuracy - each.confidence) for each in bins) / total


@dataclass(frozen=True, slots=True)
class RiskCoveragePoint:
    """Risk and coverage if predictions with at least this confidence are answered."""

    threshold: float
    coverage: float
    risk: float


def risk_coverage_curve(confidence: np.ndarray, right: np.ndarray) -> list[RiskCoveragePoint]:
    """Return a point for each distinct confidence, the highest first.

    Args:
        confidence: highest probability of each prediction, `(N,)`.
        right: whether each prediction is right, bool `(N,)`.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order])
    last_of_ties = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    total = len(confidence)
    return [
        RiskCoveragePoint(float(confidence[order][at]), (at + 1) / total, float(wrong[at] / (at + 1)))
        for at in last_of_ties.tolist()
    ]
