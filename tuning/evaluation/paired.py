"""Is one value of an axis better than another? Trials that differ in nothing else, on the same validation clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from tuning.search.titles import trial_title
from tuning.search.trial_result import TrialResult, is_usable
from tuning.text import count_noun
from tuning.training.bootstrap import Difference, GroupResampler, Interval, macro_f1s, mean_recalls, percentiles
from tuning.training.checkpoint import load_epoch_predictions, load_validation_predictions


@dataclass(frozen=True, slots=True)
class Pair:
    """Two trials that differ in one axis alone."""

    title: str
    """What they have in common."""
    first: str
    second: str
    """Ids of the trials."""
    epochs: int
    """Epochs that both have; each answers by the best of these."""
    macro_f1: Difference
    """Interval over groups of clips, these two models given."""
    rare_recall: Difference | None
    """Mean recall of the rare classes; None without such."""
    only_first: int
    only_second: int
    """Clips that only the one has right."""
    p_value: float
    """Of McNemar's exact test (McNemar 1947, Psychometrika 12:153), clip by clip."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One value of an axis against another over all such pairs."""

    axis: str
    first: str
    second: str
    rare: tuple[str, ...]
    """Classes with fewer than half an even share of the training clips."""
    pairs: tuple[Pair, ...]
    macro_f1: Difference | None
    """Mean over pairs; the interval covers the luck of the clips and that of training. None without pairs."""
    rare_recall: Difference | None
    rare_recordings: int
    """Groups that the validation clips of the rare classes come from."""

    @property
    def sentence(self) -> str:
        """What the sweep allows to conclude."""
        if self.macro_f1 is None:
            return f"No two trials differ in {self.axis} alone: this sweep can't tell {self.first} from {self.second}."
        rare = ""
        if self.rare_recall:
            came = count_noun(self.rare_recordings, "recording")
            rare = f"; recall of the rare classes {self.rare_recall.summary}, from {came}"
        over = f"over {count_noun(len(self.pairs), 'pair')} of trials"
        if len(self.pairs) == 1:
            return (
                f"These data can't tell: in the only pair of trials {self.second} minus {self.first} is "
                f"{self.macro_f1.summary} macro-F1{rare}, but how much of it is the luck of two trainings one pair "
                "can't show."
            )
        if not self.macro_f1.excludes_zero:
            told = self.macro_f1.summary
            return f"These data can't tell: {self.second} minus {self.first} is {told} macro-F1 {over}{rare}."
        better, sign = (self.second, 1) if self.macro_f1.value > 0 else (self.first, -1)
        low, high = sorted((sign * self.macro_f1.interval.low, sign * self.macro_f1.interval.high))
        gain = f"{abs(self.macro_f1.value):.3f} ({low:.3f} to {high:.3f})"
        return f"{better.capitalize()} is better by {gain} macro-F1 {over}{rare}."


def compare(
    results: Sequence[TrialResult],
    axis: str,
    first: str,
    second: str,
    *,
    metric: str,
    groups: Mapping[str, str],
    train_clips: Mapping[str, int],
) -> Comparison:
    """Compare two values of an axis over all trials that are equal in everything else, seed included.

    A trial that was stopped early would lose to one that was not by its fewer epochs: both answer by the best of the
    epochs that both have.

    Args:
        results: all trials.
        axis: on which they differ.
        first: its value on the one side.
        second: its value on the other.
        metric: by which the best epoch is chosen.
        groups: of each validation clip.
        train_clips: of each class, in the order of the logits.
    """
    classes = tuple(train_clips)
    rare = rare_classes(train_clips)
    found = [
        _compared(title, *both, metric, groups, len(classes), [classes.index(name) for name in rare])
        for title, both in _pairs(results, axis, first, second)
    ]
    return Comparison(
        axis,
        first,
        second,
        rare,
        tuple(one.pair for one in found),
        _overall([one.pair.macro_f1.value for one in found], [one.macro_f1 for one in found]),
        _overall(
            [one.pair.rare_recall.value for one in found if one.pair.rare_recall],
            [one.rare_recall for one in found if one.pair.rare_recall],
        ),
        max((one.rare_recordings for one in found), default=0),
    )


def rare_classes(train_clips: Mapping[str, int]) -> tuple[str, ...]:
    """Classes with fewer than half an even share of the clips."""
    even = sum(train_clips.values()) / len(train_clips)
    return tuple(name for name, clips in train_clips.items() if clips < even / 2)


def _pairs(
    results: Sequence[TrialResult], axis: str, first: str, second: str
) -> list[tuple[str, tuple[TrialResult, TrialResult]]]:
    """By what they have in common; of several equal trials the first is taken on each side."""
    sides: dict[str, dict[tuple[str, ...], TrialResult]] = {first: {}, second: {}}
    for row in filter(is_usable, results):
        value = str(row.choice[axis])
        if value in sides:
            rest = (str(row.seed), row.stage, *(f"{k}={v}" for k, v in row.choice.items() if k != axis))
            sides[value].setdefault(rest, row)
    return [
        (_common_title(row, axis), (row, sides[second][rest]))
        for rest, row in sides[first].items()
        if rest in sides[second]
    ]


def _common_title(row: TrialResult, axis: str) -> str:
    usual = {"sampler": "imbalanced", "loss": "plain"}
    parts = trial_title({**row.choice, axis: usual.get(axis, row.choice[axis])}).split(" · ")
    seed = [f"seed {row.seed}"] if row.stage == "final" else []
    return " · ".join([*(part for part in parts if axis != "sampler" or part != "imbalanced"), *seed])


@dataclass(frozen=True, slots=True)
class _Compared:
    pair: Pair
    macro_f1: np.ndarray
    """The difference in each draw."""
    rare_recall: np.ndarray
    rare_recordings: int


def _compared(
    title: str,
    first: TrialResult,
    second: TrialResult,
    metric: str,
    groups: Mapping[str, str],
    num_classes: int,
    rare: Sequence[int],
) -> _Compared:
    answers = load_validation_predictions(Path(first.checkpoint))
    labels = answers.labels.tolist()
    epochs = min(len(first.history), len(second.history))
    given = [_best_answers(row, answers.clip_ids, metric, epochs) for row in (first, second)]
    draws = GroupResampler([groups[clip] for clip in answers.clip_ids])
    drawn = [draws.confusions(labels, one, num_classes) for one in given]
    confusions = [_confusion(labels, one, num_classes) for one in given]
    f1_draws = macro_f1s(drawn[1]) - macro_f1s(drawn[0])
    f1 = Difference(float((macro_f1s(confusions[1]) - macro_f1s(confusions[0]))[0]), percentiles(f1_draws))
    present = [index for index in rare if index in labels]
    recall_draws = mean_recalls(drawn[1], present) - mean_recalls(drawn[0], present) if present else np.empty(0)
    recall = None
    if present:
        value = float((mean_recalls(confusions[1], present) - mean_recalls(confusions[0], present))[0])
        recall = Difference(value, percentiles(recall_draws))
    right = [np.asarray(one) == np.asarray(labels) for one in given]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    pair = Pair(
        title, first.id, second.id, epochs, f1, recall, only_first, only_second, mcnemar(only_first, only_second)
    )
    of_rare = {groups[clip] for clip, label in zip(answers.clip_ids, labels, strict=True) if label in present}
    return _Compared(pair, f1_draws, recall_draws, len(of_rare))


def _best_answers(row: TrialResult, clip_ids: Sequence[str], metric: str, epochs: int) -> list[int]:
    scores = [epoch[metric] for epoch in row.history[:epochs]]
    # Of equals the last, as the sweep itself goes by.
    best = max(range(epochs), key=lambda number: (scores[number], number))
    latest = Path(row.latest_checkpoint)
    place = {clip: number for number, clip in enumerate(load_validation_predictions(latest).clip_ids)}
    given: torch.Tensor = load_epoch_predictions(latest)[best]
    return given[[place[clip] for clip in clip_ids]].tolist()


def _confusion(labels: Sequence[int], predicted: Sequence[int], num_classes: int) -> np.ndarray:
    counts = np.zeros((1, num_classes, num_classes))
    np.add.at(counts, (0, labels, predicted), 1)
    return counts


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p value of McNemar's exact test; 1 where the two never differ."""
    differing = only_first + only_second
    return float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0


def _overall(values: Sequence[float], draws: Sequence[np.ndarray]) -> Difference | None:
    """Mean over pairs, with the wider ends of two intervals: over groups of clips, and over trainings by Student's t.

    With one pair only the first can be had.
    """
    if not values:
        return None
    mean = float(np.mean(values))
    interval = percentiles(np.mean(draws, axis=0))
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
        interval = interval.union(Interval(max(mean - half, -1.0), min(mean + half, 1.0)))
    return Difference(mean, interval)


def class_counts(labels: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Clips of each class, in the order of the classes."""
    counts = Counter(labels)
    return {name: counts[name] for name in classes}
