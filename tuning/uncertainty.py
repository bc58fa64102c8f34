"""How far scores counted on few clips may lie from the true ones, where clips of one recording fail together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from data.intervals import wilson_interval

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """95 % interval of a score."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}"


@dataclass(frozen=True, slots=True)
class ScoreIntervals:
    """The intervals of the scores that decide."""

    accuracy: Interval
    macro_f1: Interval


def group_bootstrap(
    labels: Sequence[int], predicted: Sequence[int], groups: Sequence[Hashable], num_classes: int
) -> ScoreIntervals:
    """Percentile intervals over whole groups drawn anew with replacement (Field and Welsh 2007, JRSS B 69:369).

    Clips of one recording are right or wrong together, so that intervals by clip are too narrow. With few groups these
    are too narrow as well, but less so. Where all clips are right no draw differs: the low end is then that of Wilson's
    interval of as many groups. The draws are the same each time.

    Args:
        labels: class index of each clip.
        predicted: class index given to each clip.
        groups: the recording of each clip.
        num_classes: K.

    Raises:
        AssertionError: no clips, or unequal lengths.
    """
    assert len(labels) == len(predicted) == len(groups) > 0
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    confusions = np.zeros((len(places), num_classes, num_classes))
    np.add.at(confusions, ([places[group] for group in groups], labels, predicted), 1)
    draws = np.random.default_rng(0).multinomial(len(places), [1 / len(places)] * len(places), size=RESAMPLES)
    drawn = (draws @ confusions.reshape(len(places), -1)).reshape(-1, num_classes, num_classes)
    accuracy, macro_f1 = _scores(drawn)
    if accuracy.min() == 1:
        all_right = Interval(*wilson_interval(len(places), len(places)))
        return ScoreIntervals(all_right, all_right)
    return ScoreIntervals(_interval(accuracy), _interval(macro_f1))


def _scores(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and macro-F1 of each confusion matrix `(N, K, K)`; a class without clips is not averaged."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    support, named = confusions.sum(2), confusions.sum(1)
    f1 = np.divide(2 * right, support + named, out=np.zeros_like(right), where=support + named > 0)
    return right.sum(1) / support.sum(1), np.mean(f1, axis=1, where=support > 0)


def _interval(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
