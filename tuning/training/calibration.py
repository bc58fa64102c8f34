"""How far a model's probabilities can be believed, and when it should rather not answer; settled on validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from tuning.errors import TuningError
from tuning.training.predictions import Predictions

CALIBRATION_FILE = "calibration.json"
NUM_BINS = 10
_HOTTEST = 100.0


class CalibrationError(TuningError):
    """A calibration that can't be read."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a champion's logits into probabilities, and below which it abstains."""

    temperature: float
    """Probabilities are `softmax(logits / temperature)` (Guo et al. 2017, arXiv:1706.04599)."""
    threshold: float
    """Least probability of an answer; below it, it abstains."""
    max_risk: float
    """The share of wrong answers that was asked for at most."""
    risk: float
    """The share of wrong answers among those given, on validation."""
    coverage: float
    """The share of clips that are answered, on validation."""
    clips: int
    """Validation clips that it was settled on."""

    @property
    def meets_max_risk(self) -> bool:
        """Whether `max_risk` could be kept on validation."""
        return self.risk <= self.max_risk

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits `(N, K)` to probabilities float32 `(N, K)`."""
        return (logits.double() / self.temperature).softmax(1).float()

    def save(self, folder: Path) -> None:
        """Write it into a champion's folder."""
        (folder / CALIBRATION_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """Read a champion's; one without a file answers always, by plain softmax.

        Raises:
            CalibrationError: the file is damaged.
        """
        try:
            return cls(**json.loads((folder / CALIBRATION_FILE).read_text()))
        except FileNotFoundError:
            return cls(temperature=1.0, threshold=0.0, max_risk=1.0, risk=1.0, coverage=1.0, clips=0)
        except (OSError, ValueError, TypeError) as error:
            raise CalibrationError(
                f"{folder / CALIBRATION_FILE} can't be read ({error}): choose the champion anew"
            ) from None


def calibrate(answers: Predictions, max_risk: float) -> Calibration:
    """Settle temperature and threshold on a champion's answers to the validation clips.

    The threshold is just below the lowest with which at most `max_risk` of the answers given are wrong (Geifman and
    El-Yaniv 2017, arXiv:1705.08500, without their bound, which so few clips never meet). Where none does, it is the one
    with the least risk.
    """
    logits, labels = answers.logits.double().numpy(), answers.labels.numpy()
    temperature = fit_temperature(logits, labels)
    probabilities = softmax(logits / temperature, axis=1)
    points = risk_coverage_curve(probabilities.max(1), probabilities.argmax(1) == labels)
    kept = [point for point in points if point.risk <= max_risk] or [min(points, key=lambda p: (p.risk, -p.coverage))]
    chosen = kept[-1]
    threshold = _just_below(chosen, points)
    return Calibration(temperature, threshold, max_risk, chosen.risk, chosen.coverage, len(labels))


def _just_below(chosen: RiskCoveragePoint, points: Sequence[RiskCoveragePoint]) -> float:
    """Between its threshold and the next lower one: a clip just there must not be lost by another rounding."""
    lower = max((point.threshold for point in points if point.threshold < chosen.threshold), default=0.0)
    return max((chosen.threshold + lower) / 2, chosen.threshold * (1 - 1e-3))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes the labels most likely, between 1/100 and 100.

    Args:
        logits: float64 `(N, K)`.
        labels: int `(N,)`.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(softmax(logits / np.exp(log_temperature), axis=1), labels)

    bound = np.log(_HOTTEST)
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}).x))


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over clips, of probabilities `(N, K)`."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of about the same probability."""

    low: float
    high: float
    clips: int
    confidence: float
    """Their mean probability; 0 without clips."""
    right: int
    """How many of them are right."""

    @property
    def accuracy(self) -> float:
        """The share that is right; 0 without clips."""
        return self.right / self.clips if self.clips else 0.0


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """How often answers of each of `BINS` ranges of probability are right; probabilities `(N, K)`."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    return tuple(
        ReliabilityBin(
            number / NUM_BINS,
            (number + 1) / NUM_BINS,
            int(inside.sum()),
            float(confidence[inside].mean()) if inside.any() else 0.0,
            int(right[inside].sum()),
        )
        for number in range(NUM_BINS)
        for inside in [place == number]
    )


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """How far apart probability and share of right answers are, mean over clips (Naeini et al. 2015, AAAI)."""
    total = sum(each.clips for each in bins)
    return sum(each.clips * abs(each.accuracy - each.confidence) for each in bins) / total


@dataclass(frozen=True, slots=True)
class RiskCoveragePoint:
    """What answering from a threshold on comes to."""

    threshold: float
    coverage: float
    risk: float


def risk_coverage_curve(confidence: np.ndarray, right: np.ndarray) -> list[RiskCoveragePoint]:
    """A point for each threshold that makes a difference, the highest first."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order])
    last = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    total = len(confidence)
    return [
        RiskCoveragePoint(float(confidence[order][at]), (at + 1) / total, float(wrong[at] / (at + 1)))
        for at in last.tolist()
    ]
