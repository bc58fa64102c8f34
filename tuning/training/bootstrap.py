"""Confidence intervals of scores by a bootstrap over groups.

Clips of one group are often right or wrong together, so an interval that treats clips as independent is too narrow.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from data.intervals import wilson_interval
from tuning.training.predictions import Predictions

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """95 % interval of a score or of a difference of scores."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}"

    def contains(self, value: float) -> bool:
        """Return whether the value is in the interval, ends included."""
        return self.low <= value <= self.high

    def union(self, other: Interval) -> Interval:
        """Return the smallest interval that contains both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, slots=True)
class Difference:
    """A score of one side minus the same score of the other side, with its interval."""

    value: float
    interval: Interval

    @property
    def summary(self) -> str:
        """Text such as `+0.120 (+0.030 to +0.200)`."""
        value, low, high = (round(each, 3) + 0.0 for each in (self.value, self.interval.low, self.interval.high))
        return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.interval.contains(0)


@dataclass(frozen=True, slots=True)
class ScoreIntervals:
    """Intervals of accuracy and macro-F1."""

    accuracy: Interval
    macro_f1: Interval


class GroupResampler:
    """Draw whole groups with replacement (Field and Welsh 2007, JRSS B 69:369), with a fixed seed.

    With few groups these intervals are too narrow too, but less so than intervals over clips. Two models that predicted
    the same clips can be compared draw by draw.
    """

    def __init__(self, groups: Sequence[Hashable]) -> None:
        assert groups
        indices = {group: index for index, group in enumerate(dict.fromkeys(groups))}
        self.num_groups = len(indices)
        self._group_of_clip = [indices[group] for group in groups]
        even = [1 / self.num_groups] * self.num_groups
        self._draws = np.random.default_rng(0).multinomial(self.num_groups, even, size=RESAMPLES)

    def confusions(self, labels: Sequence[int], predicted: Sequence[int], num_classes: int) -> np.ndarray:
        """Return the confusion matrix `[true][predicted]` of each draw, `(RESAMPLES, K, K)`.

        Args:
            labels: true class index of each clip, in the order of the groups.
            predicted: predicted class index of each clip.
            num_classes: K.

        Raises:
            AssertionError: the lengths differ.
        """
        assert len(labels) == len(predicted) == len(self._group_of_clip)
        confusions = np.zeros((self.num_groups, num_classes, num_classes))
        np.add.at(confusions, (self._group_of_clip, labels, predicted), 1)
        return (self._draws @ confusions.reshape(self.num_groups, -1)).reshape(-1, num_classes, num_classes)


def group_bootstrap(
    labels: Sequence[int], predicted: Sequence[int], groups: Sequence[Hashable], num_classes: int
) -> ScoreIntervals:
    """Return percentile intervals over the draws of a `GroupResampler`.

    If all clips are right, all draws are equal. The interval is then Wilson's for as many trials as there are groups.

    Args:
        labels: true class index of each clip.
        predicted: predicted class index of each clip.
        groups: group of each clip.
        num_classes: K.

    Raises:
        AssertionError: there are no clips, or the lengths differ.
    """
    resampler = GroupResampler(groups)
    confusions = resampler.confusions(labels, predicted, num_classes)
    accuracy = accuracies(confusions)
    if accuracy.min() == 1:
        all_right = Interval(*wilson_interval(resampler.num_groups, resampler.num_groups))
        return ScoreIntervals(all_right, all_right)
    return ScoreIntervals(percentiles(accuracy), percentiles(macro_f1s(confusions)))


def score_intervals(predictions: Predictions, groups: Sequence[Hashable]) -> ScoreIntervals:
    """Return the `group_bootstrap` of a model's predictions, given the group of each clip in the same order."""
    predicted = predictions.logits.argmax(1).tolist()
    return group_bootstrap(predictions.labels.tolist(), predicted, groups, predictions.logits.shape[1])


def accuracies(confusions: np.ndarray) -> np.ndarray:
    """Return the accuracy `(N,)` of confusion matrices `(N, K, K)`."""
    return np.diagonal(confusions, axis1=1, axis2=2).sum(1) / confusions.sum((1, 2))


def macro_f1s(confusions: np.ndarray) -> np.ndarray:
    """Return the macro-F1 `(N,)` of confusion matrices `(N, K, K)`, over the classes that have clips."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    support, predicted = confusions.sum(2), confusions.sum(1)
    f1 = np.divide(2 * right, support + predicted, out=np.zeros_like(right), where=support + predicted > 0)
    return np.mean(f1, axis=1, where=support > 0)


def mean_recalls(confusions: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return the mean recall `(N,)` over some classes of confusion matrices `(N, K, K)`.

    Classes without clips in a draw are left out; the result is NaN if none of the classes has clips.
    """
    chosen = list(classes)
    right = np.diagonal(confusions, axis1=1, axis2=2)[:, chosen]
    support = confusions.sum(2)[:, chosen]
    recall = np.divide(right, support, out=np.zeros_like(right), where=support > 0)
    present = (support > 0).sum(1)
    return np.divide(recall.sum(1), present, out=np.full(len(recall), np.nan), where=present > 0)


def percentiles(values: np.ndarray) -> Interval:
    """Return the interval from the 2.5th to the 97.5th percentile, ignoring NaN."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
