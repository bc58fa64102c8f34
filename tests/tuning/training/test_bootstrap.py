from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from data.intervals import wilson_interval
from tuning.training.bootstrap import Interval, accuracies, group_bootstrap, macro_f1s
from tuning.training.scores import score

K = 3


def random_predictions(
    clips: int, groups: int, seed: int, hardness: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, predictions and groups. With hardness 1 all clips of a group are right or wrong together."""
    rng = np.random.default_rng(seed)
    group = np.arange(clips) % groups
    right = rng.random(clips) < np.where(rng.random(groups) < 0.7, 0.7 + 0.3 * hardness, 0.7 - 0.7 * hardness)[group]
    labels = rng.integers(0, K, clips)
    return labels, np.where(right, labels, (labels + rng.integers(1, K, clips)) % K), group


def test_with_one_clip_per_group_the_interval_is_scipys_percentile_bootstrap() -> None:
    labels, predicted, _ = random_predictions(120, 120, seed=1, hardness=0)
    found = group_bootstrap(labels.tolist(), predicted.tolist(), range(120), K).accuracy
    right = (labels == predicted).astype(float)
    expected = bootstrap((right,), np.mean, method="percentile", rng=0).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


def test_accuracies_and_macro_f1s_equal_reported_scores() -> None:
    labels, predicted, _ = random_predictions(50, 50, seed=2, hardness=0)
    for absent in (None, 1):
        kept = labels != absent
        reported = score(labels[kept].tolist(), predicted[kept].tolist(), "abc")
        confusions = np.asarray([reported.confusion], dtype=float)
        assert accuracies(confusions)[0] == pytest.approx(reported.accuracy)
        assert macro_f1s(confusions)[0] == pytest.approx(reported.macro_f1)


def test_interval_over_groups_contains_the_true_accuracy_and_one_over_clips_does_not() -> None:
    """With 30 groups of 8 clips; the true accuracy over many groups is 0.7 * 1 + 0.3 * 0 = 0.7."""
    by_group_contains = by_clip_contains = 0
    for seed in range(200):
        labels, predicted, group = random_predictions(240, 30, seed, hardness=1)
        by_group = group_bootstrap(labels.tolist(), predicted.tolist(), group.tolist(), K).accuracy
        by_clip = Interval(*wilson_interval(int((labels == predicted).sum()), 240))
        by_group_contains += by_group.low <= 0.7 <= by_group.high
        by_clip_contains += by_clip.low <= 0.7 <= by_clip.high
    assert by_group_contains >= 0.88 * 200
    assert by_clip_contains <= 0.65 * 200


def test_perfect_predictions_give_wilsons_interval_for_the_number_of_groups() -> None:
    labels = [0, 1, 2, 0, 1, 2]
    intervals = group_bootstrap(labels, labels, ["a", "a", "b", "b", "c", "c"], K)
    assert intervals.macro_f1 == intervals.accuracy == Interval(*wilson_interval(3, 3))
    assert intervals.accuracy.low < 0.5


def test_interval_is_reproducible() -> None:
    labels, predicted, group = (values.tolist() for values in random_predictions(60, 12, seed=3, hardness=0.5))
    assert group_bootstrap(labels, predicted, group, K) == group_bootstrap(labels, predicted, group, K)
