"""Temperature, calibration error and threshold on predictions whose true probabilities are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from tuning.training.calibration import (
    Calibration,
    CalibrationError,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage_curve,
)
from tuning.training.predictions import Predictions


def random_logits(clips: int, *, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of three classes times a factor, and labels drawn from the probabilities before that."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(clips, 3)) * 2
    labels = np.array([random.choice(3, p=row) for row in softmax(logits, axis=1)])
    return logits * factor, labels


def predictions(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    return Predictions([str(i) for i in range(len(labels))], torch.from_numpy(labels), torch.from_numpy(logits))


@pytest.mark.parametrize("factor", [0.25, 1, 4])
def test_fit_temperature_finds_the_factor_of_the_logits(factor: float) -> None:
    assert fit_temperature(*random_logits(20_000, factor=factor)) == pytest.approx(factor, rel=0.03)


def test_temperature_stays_finite_if_all_predictions_are_right() -> None:
    logits = np.eye(3) * 5
    assert 0.01 <= fit_temperature(logits, np.arange(3)) <= 1


def test_negative_log_likelihood_equals_scikit_learns() -> None:
    logits, labels = random_logits(500)
    probabilities = softmax(logits, axis=1)
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(log_loss(labels, probabilities))


def test_reliability_bins_equal_scikit_learns_calibration_curve() -> None:
    logits, labels = random_logits(2000, factor=3)
    probabilities = softmax(logits, axis=1)
    bins = [each for each in reliability_bins(probabilities, labels) if each.clips]
    right = probabilities.argmax(1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(1), n_bins=10)
    assert [each.accuracy for each in bins] == pytest.approx(accuracy)
    assert [each.confidence for each in bins] == pytest.approx(confidence)
    assert sum(each.clips for each in bins) == 2000


def test_calibration_error_falls_after_temperature_scaling() -> None:
    logits, labels = random_logits(20_000, factor=4)
    temperature = fit_temperature(logits, labels)
    before, after = (
        expected_calibration_error(reliability_bins(softmax(logits / t, axis=1), labels)) for t in (1, temperature)
    )
    assert before > 0.1
    assert after < 0.02


def test_calibration_error_of_three_predictions() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35]])
    assert expected_calibration_error(reliability_bins(probabilities, np.array([0, 1, 0]))) == pytest.approx(
        (2 * abs(0.5 - 0.95) + abs(1 - 0.65)) / 3
    )


def test_risk_coverage_curve_has_a_point_per_distinct_confidence() -> None:
    points = risk_coverage_curve(np.array([0.5, 0.9, 0.7, 0.7]), np.array([False, True, True, False]))
    assert [(p.threshold, p.coverage, p.risk) for p in points] == [
        (0.9, 0.25, 0.0),
        (0.7, 0.75, pytest.approx(1 / 3)),
        (0.5, 1.0, 0.5),
    ]


def test_risk_on_new_clips_is_near_max_risk() -> None:
    logits, labels = random_logits(4000, factor=3)
    found = calibrate(predictions(logits[:2000], labels[:2000]), max_risk=0.1)
    probabilities = found.probabilities(torch.from_numpy(logits[2000:])).numpy()
    answered = probabilities.max(1) >= found.threshold
    wrong = int((probabilities.argmax(1) != labels[2000:])[answered].sum())
    interval = binomtest(wrong, int(answered.sum())).proportion_ci()
    assert found.meets_max_risk
    assert found.risk <= 0.1
    assert interval.low <= 0.1 <= interval.high + 0.02
    assert answered.mean() == pytest.approx(found.coverage, abs=0.05)


def test_threshold_keeps_its_clip_in_single_precision() -> None:
    for seed in range(20):
        logits = np.random.default_rng(seed).normal(size=(30, 3)).astype(np.float32)
        labels = logits.argmax(1)
        labels[: seed + 1] = (labels[: seed + 1] + 1) % 3
        found = calibrate(predictions(logits, labels), max_risk=0.2)
        answered = found.probabilities(torch.from_numpy(logits)).float().max(1).values >= found.threshold
        assert float(answered.float().mean()) == pytest.approx(found.coverage)


def test_coverage_rises_with_max_risk() -> None:
    logits, labels = random_logits(500)
    coverage = [calibrate(predictions(logits, labels), risk).coverage for risk in (0.01, 0.1, 0.3, 1)]
    assert coverage == sorted(coverage)
    assert coverage[-1] == 1


def test_unreachable_max_risk_gives_the_lowest_risk() -> None:
    logits = np.array([[3.0, 0], [2, 0], [1, 0]])
    found = calibrate(predictions(logits, np.array([1, 1, 0])), max_risk=0.1)
    assert not found.meets_max_risk
    assert (found.risk, found.coverage) == (pytest.approx(2 / 3), 1)


def test_load_returns_what_was_saved(tmp_path: Path) -> None:
    found = calibrate(predictions(*random_logits(50)), 0.1)
    found.save(tmp_path)
    assert Calibration.load(tmp_path) == found


def test_missing_file_gives_plain_softmax_without_abstention(tmp_path: Path) -> None:
    logits = torch.randn(4, 3)
    plain = Calibration.load(tmp_path)
    torch.testing.assert_close(plain.probabilities(logits), logits.softmax(1))
    assert (plain.probabilities(logits).max(1).values >= plain.threshold).all()


def test_damaged_file_raises(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text("{")
    with pytest.raises(CalibrationError, match=r"calibration\.json can't be read"):
        Calibration.load(tmp_path)
