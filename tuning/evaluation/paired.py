"""Compare two values of an axis by pairs of trials that differ in nothing else, on the same validation clips."""

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
class TrialPair:
    """Two trials that differ in one axis only; differences are second minus first."""

    title: str
    """What both have in common."""
    first: str
    """ID of the trial with the first value."""
    second: str
    """ID of the trial with the second value."""
    epochs: int
    """Epochs that both trained; each is scored at the best of these."""
    macro_f1: Difference
    """The interval is over groups of clips, for these two models."""
    rare_recall: Difference | None
    """Mean recall of the rare classes; None if no validation clip is of a rare class."""
    only_first: int
    """Clips that only the first trial classifies correctly."""
    only_second: int
    """Clips that only the second trial classifies correctly."""
    p_value: float
    """Of McNemar's exact test, clip by clip."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two values of an axis, compared over all pairs of trials; differences are second minus first."""

    axis: str
    first: str
    second: str
    rare: tuple[str, ...]
    """Classes with fewer than half an even share of the training clips."""
    pairs: tuple[TrialPair, ...]
    macro_f1: Difference | None
    """Mean over the pairs; the interval covers the luck of the clips and the luck of training. None without pairs."""
    rare_recall: Difference | None
    rare_groups: int
    """Groups that the validation clips of the rare classes come from."""

    @property
    def sentence(self) -> str:
        """What the comparison shows."""
        first, second = self.first, self.second
        if self.macro_f1 is None:
            return f"No two trials differ in {self.axis} alone, so this sweep can't compare {first} and {second}."
        rare = ""
        if self.rare_recall:
            groups = count_noun(self.rare_groups, "group")
            rare = f"; recall of the rare classes {self.rare_recall.summary}, from {groups} of clips"
        difference = f"{second} minus {first} is {self.macro_f1.summary} macro-F1"
        if len(self.pairs) == 1:
            return (
                f"These data can't tell: in the only pair of trials {difference}{rare}, but one pair can't show how "
                "much of that is the luck of two trainings."
            )
        over = f"over {len(self.pairs)} pairs of trials"
        if not self.macro_f1.excludes_zero:
            return f"These data can't tell: {difference} {over}{rare}."
        better, sign = (second, 1) if self.macro_f1.value > 0 else (first, -1)
        low, high = sorted((sign * self.macro_f1.interval.low, sign * self.macro_f1.interval.high))
        gain = f"{abs(self.macro_f1.value):.3f} ({low:.3f} to {high:.3f})"
        return f"{better.capitalize()} is better by {gain} macro-F1 {over}{rare}."


def compare_pairs(
    results: Sequence[TrialResult],
    axis: str,
    first: str,
    second: str,
    *,
    metric: str,
    groups: Mapping[str, str],
    train_clips: Mapping[str, int],
) -> PairedComparison:
    """Compare two values of an axis over all pairs of trials that are equal in everything else, seed included.

    Both trials of a pair are scored at the best of the epochs that both trained: otherwise one that was stopped early
    would lose by its fewer epochs.

    Args:
        results: all trials.
        axis: the axis in which the trials of a pair differ.
        first: one value of the axis.
        second: the other value.
        metric: metric that selects the best epoch.
        groups: group of each validation clip.
        train_clips: training clips of each class, in the order of the logits.
    """
    rare = rare_classes(train_clips)
    scorer = _PairScorer(metric, groups, tuple(train_clips), rare)
    scored = [scorer.score(title, *pair) for title, pair in _find_pairs(results, axis, first, second)]
    recalls = [each.pair.rare_recall for each in scored if each.pair.rare_recall]
    recall_draws = [each.rare_recall for each in scored if each.pair.rare_recall]
    return PairedComparison(
        axis,
        first,
        second,
        rare,
        tuple(each.pair for each in scored),
        _mean_difference([each.pair.macro_f1 for each in scored], [each.macro_f1 for each in scored]),
        _mean_difference(recalls, recall_draws),
        max((each.rare_groups for each in scored), default=0),
    )


def class_counts(labels: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Return the number of clips of each class, in the order of `classes`."""
    counts = Counter(labels)
    return {name: counts[name] for name in classes}


def rare_classes(train_clips: Mapping[str, int]) -> tuple[str, ...]:
    """Return the classes with fewer than half an even share of the clips."""
    even = sum(train_clips.values()) / len(train_clips)
    return tuple(name for name, clips in train_clips.items() if clips < even / 2)


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947, Psychometrika 12:153).

    Args:
        only_first: clips that only the first model classifies correctly.
        only_second: clips that only the second model classifies correctly.

    Returns:
        1 if both are 0.
    """
    differing = only_first + only_second
    return float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0


def _find_pairs(
    results: Sequence[TrialResult], axis: str, first: str, second: str
) -> list[tuple[str, tuple[TrialResult, TrialResult]]]:
    """Return each pair with its title; of several equal trials only the first is used."""
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
class _ScoredPair:
    pair: TrialPair
    macro_f1: np.ndarray
    """Difference in each bootstrap draw `(RESAMPLES,)`."""
    rare_recall: np.ndarray
    """The same of the mean recall of the rare classes; empty without clips of these."""
    rare_groups: int


@dataclass(frozen=True, slots=True)
class _PairScorer:
    metric: str
    groups: Mapping[str, str]
    classes: tuple[str, ...]
    rare: tuple[str, ...]

    def score(self, title: str, first: TrialResult, second: TrialResult) -> _ScoredPair:
        """Score both trials on the same validation clips and the same bootstrap draws."""
        validation = load_validation_predictions(Path(first.checkpoint))
        clips, labels = validation.clip_ids, validation.labels.tolist()
        epochs = min(len(first.history), len(second.history))
        predicted = [_best_predictions(row, clips, self.metric, epochs) for row in (first, second)]
        draws = GroupResampler([self.groups[clip] for clip in clips])
        drawn = [draws.confusions(labels, one, len(self.classes)) for one in predicted]
        observed = [_confusion(labels, one, len(self.classes)) for one in predicted]
        f1_draws = macro_f1s(drawn[1]) - macro_f1s(drawn[0])
        f1 = Difference(float((macro_f1s(observed[1]) - macro_f1s(observed[0]))[0]), percentiles(f1_draws))
        rare = [index for index, name in enumerate(self.classes) if name in self.rare and index in labels]
        recall, recall_draws = _rare_recall(observed, drawn, rare)
        correct = [np.asarray(one) == np.asarray(labels) for one in predicted]
        only_first, only_second = int((correct[0] & ~correct[1]).sum()), int((correct[1] & ~correct[0]).sum())
        p_value = mcnemar_p_value(only_first, only_second)
        pair = TrialPair(title, first.id, second.id, epochs, f1, recall, only_first, only_second, p_value)
        rare_groups = {self.groups[clip] for clip, label in zip(clips, labels, strict=True) if label in rare}
        return _ScoredPair(pair, f1_draws, recall_draws, len(rare_groups))


def _rare_recall(
    observed: Sequence[np.ndarray], drawn: Sequence[np.ndarray], rare: Sequence[int]
) -> tuple[Difference | None, np.ndarray]:
    """Return the difference of the mean recall of the rare classes, and that of each draw."""
    if not rare:
        return None, np.empty(0)
    draws = mean_recalls(drawn[1], rare) - mean_recalls(drawn[0], rare)
    value = float((mean_recalls(observed[1], rare) - mean_recalls(observed[0], rare))[0])
    return Difference(value, percentiles(draws)), draws


def _best_predictions(row: TrialResult, clip_ids: Sequence[str], metric: str, epochs: int) -> list[int]:
    """Return the class index predicted for each clip at the best of the first epochs."""
    scores = [epoch[metric] for epoch in row.history[:epochs]]
    # Of equal epochs the last, as in the sweep itself.
    best = max(range(epochs), key=lambda number: (scores[number], number))
    latest = Path(row.latest_checkpoint)
    position = {clip: number for number, clip in enumerate(load_validation_predictions(latest).clip_ids)}
    predicted: torch.Tensor = load_epoch_predictions(latest)[best]
    return predicted[[position[clip] for clip in clip_ids]].tolist()


def _confusion(labels: Sequence[int], predicted: Sequence[int], num_classes: int) -> np.ndarray:
    counts = np.zeros((1, num_classes, num_classes))
    np.add.at(counts, (0, labels, predicted), 1)
    return counts


def _mean_difference(differences: Sequence[Difference], draws: Sequence[np.ndarray]) -> Difference | None:
    """Return the mean over pairs.

    Its interval spans two intervals: that over groups of clips, and Student's t over trainings. With one pair it is the
    first alone.
    """
    if not differences:
        return None
    values = [each.value for each in differences]
    mean = float(np.mean(values))
    interval = percentiles(np.mean(draws, axis=0))
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
        interval = interval.union(Interval(max(mean - half, -1.0), min(mean + half, 1.0)))
    return Difference(mean, interval)
