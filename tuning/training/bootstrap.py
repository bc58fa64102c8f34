"""How far scores counted on few clips may lie from the true ones, where clips of one recording fail together."""

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
        """Whether the value lies in it."""
        return self.low <= value <= self.high

    def union(self, other: Interval) -> Interval:
        """From the lower low to the higher high."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, slots=True)
class Difference:
    """Of a score: one side's minus the other's."""

    value: float
    interval: Interval

    @property
    def summary(self) -> str:
        """For people."""
        value, low, high = (round(each, 3) + 0.0 for each in (self.value, self.interval.low, self.interval.high))
        return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of nothing."""
        return not self.interval.contains(0)


@dataclass(frozen=True, slots=True)
class ScoreIntervals:
    """The intervals of the scores that decide."""

    accuracy: Interval
    macro_f1: Interval


class GroupResampler:
    """Whole groups drawn anew with replacement (Field and Welsh 2007, JRSS B 69:369), the same draws each time.

    Clips of one recording are right or wrong together, so that intervals by clip are too narrow. With few groups those
    by group are too narrow as well, but less so. Models that answered the same clips are compared draw by draw.
    """

    def __init__(self, groups: Sequence[Hashable]) -> None:
        assert groups
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        self.num_groups = len(places)
        self._places = [places[group] for group in groups]
        even = [1 / self.num_groups] * self.num_groups
        self._draws = np.random.default_rng(0).multinomial(self.num_groups, even, size=RESAMPLES)

    def confusions(self, labels: Sequence[int], predicted: Sequence[int], num_classes: int) -> np.ndarray:
        """Counts `[true][predicted]` of each draw, `(RESAMPLES, K, K)`.

        Args:
            labels: class index of each clip.
            predicted: class index given to each clip.
            num_classes: K.

        Raises:
            AssertionError: not as many as there are groups.
        """
        assert len(labels) == len(predicted) == len(self._places)
        confusions = np.zeros((self.num_groups, num_classes, num_classes))
        np.add.at(confusions, (self._places, labels, predicted), 1)
        return (self._draws @ confusions.reshape(self.num_groups, -1)).reshape(-1, num_classes, num_classes)


def group_bootstrap(
    labels: Sequence[int], predicted: Sequence[int], groups: Sequence[Hashable], num_classes: int
) -> ScoreIntervals:
    """Percentile intervals over `GroupResampler`.

    Where all clips are right no draw differs: the low end is then that of Wilson's interval of as many groups.

    Args:
        labels: class index of each clip.
        predicted: class index given to each clip.
        groups: the recording of each clip.
        num_classes: K.

    Raises:
        AssertionError: no clips, or unequal lengths.
    """
    draws = GroupResampler(groups)
    drawn = draws.confusions(labels, predicted, num_classes)
    accuracy = accuracies(drawn)
    if accuracy.min() == 1:
        all_right = Interval(*wilson_interval(draws.num_groups, draws.num_groups))
        return ScoreIntervals(all_right, all_right)
    return ScoreIntervals(percentiles(accuracy), percentiles(macro_f1s(drawn)))


def score_intervals(answers: Predictions, groups: Sequence[Hashable]) -> ScoreIntervals:
    """`group_bootstrap` of a model's answers; the group of each clip in their order."""
    predicted = answers.logits.argmax(1).tolist()
    return group_bootstrap(answers.labels.tolist(), predicted, groups, answers.logits.shape[1])


def accuracies(confusions: np.ndarray) -> np.ndarray:
    """Accuracy `(N,)` of confusion matrices `(N, K, K)`."""
    return np.diagonal(confusions, axis1=1, axis2=2).sum(1) / confusions.sum((1, 2))


def macro_f1s(confusions: np.ndarray) -> np.ndarray:
    """Macro-F1 `(N,)` of confusion matrices `(N, K, K)`; a class without clips is not averaged."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    support, named = confusions.sum(2), confusions.sum(1)
    f1 = np.divide(2 * right, support + named, out=np.zeros_like(right), where=support + named > 0)
    return np.mean(f1, axis=1, where=support > 0)


def mean_recalls(confusions: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Mean recall `(N,)` over some classes, those without clips in a draw left out; NaN if none has any."""
    chosen = list(classes)
    right = np.diagonal(confusions, axis1=1, axis2=2)[:, chosen]
    support = confusions.sum(2)[:, chosen]
    recall = np.divide(right, support, out=np.zeros_like(right), where=support > 0)
    there = (support > 0).sum(1)
    return np.divide(recall.sum(1), there, out=np.full(len(recall), np.nan), where=there > 0)


def percentiles(values: np.ndarray) -> Interval:
    """From the 2.5th to the 97.5th percentile; draws that are NaN say nothing."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
