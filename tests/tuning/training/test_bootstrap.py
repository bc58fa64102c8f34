from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from data.intervals import wilson_interval
from tuning.training.bootstrap import Interval, accuracies, group_bootstrap, macro_f1s
from tuning.training.metrics import score

K = 3


def some(clips: int, groups: int, seed: int, hardness: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and groups; `hardness` says how much a group's clips are right or wrong together."""
    rng = np.random.default_rng(seed)
    group = np.arange(clips) % groups
    right = rng.random(clips) < np.where(rng.random(groups) < 0.7, 0.7 + 0.3 * hardness, 0.7 - 0.7 * hardness)[group]
    labels = rng.integers(0, K, clips)
    return labels, np.where(right, labels, (labels + rng.integers(1, K, clips)) % K), group


def test_with_a_clip_a_group_it_is_the_bootstrap_that_everybody_knows() -> None:
    labels, predicted, _ = some(120, 120, seed=1, hardness=0)
    ours = group_bootstrap(labels.tolist(), predicted.tolist(), range(120), K).accuracy
    known = bootstrap(((labels == predicted).astype(float),), np.mean, method="percentile", rng=0).confidence_interval
    assert ours.low == pytest.approx(known.low, abs=0.01)
    assert ours.high == pytest.approx(known.high, abs=0.01)


def test_its_scores_are_those_that_are_reported() -> None:
    labels, predicted, _ = some(50, 50, seed=2, hardness=0)
    for absent in (None, 1):
        kept = labels != absent
        reported = score(labels[kept].tolist(), predicted[kept].tolist(), "abc")
        counted = np.asarray([reported.confusion], dtype=float)
        assert accuracies(counted)[0] == pytest.approx(reported.accuracy)
        assert macro_f1s(counted)[0] == pytest.approx(reported.macro_f1)


def test_it_holds_the_truth_where_an_interval_by_clip_does_not() -> None:
    """30 recordings of 8 clips each; the true accuracy is 0.7 * 1 + 0.3 * 0 = 0.7 over many recordings."""
    held_by_group = held_by_clip = 0
    for seed in range(200):
        labels, predicted, group = some(240, 30, seed, hardness=1)
        by_group = group_bootstrap(labels.tolist(), predicted.tolist(), group.tolist(), K).accuracy
        by_clip = Interval(*wilson_interval(int((labels == predicted).sum()), 240))
        held_by_group += by_group.low <= 0.7 <= by_group.high
        held_by_clip += by_clip.low <= 0.7 <= by_clip.high
    assert held_by_group >= 0.88 * 200
    assert held_by_clip <= 0.65 * 200


def test_where_all_is_right_it_goes_by_the_number_of_groups() -> None:
    labels = [0, 1, 2, 0, 1, 2]
    intervals = group_bootstrap(labels, labels, ["a", "a", "b", "b", "c", "c"], K)
    assert intervals.macro_f1 == intervals.accuracy == Interval(*wilson_interval(3, 3))
    assert intervals.accuracy.low < 0.5


def test_it_is_the_same_each_time() -> None:
    labels, predicted, group = (values.tolist() for values in some(60, 12, seed=3, hardness=0.5))
    assert group_bootstrap(labels, predicted, group, K) == group_bootstrap(labels, predicted, group, K)
