"""The ranking of trials, the choice of the champion, and the leaderboard's CSV file."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.config.schema.space import AXES
from tuning.errors import TuningError
from tuning.search.trial_result import TrialResult, is_usable


class NoChampionError(TuningError):
    """No trial has a usable model."""


def rank_trials(results: Sequence[TrialResult], metric: str) -> list[TrialResult]:
    """Return the trials, best validation score first; equal scores are ordered by id."""
    return sorted(results, key=lambda row: (-_or_worst(getattr(row, metric)), row.id))


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Finalist:
    """A choice that was trained with several seeds."""

    trials: tuple[TrialResult, ...]
    """One trial per seed, best first."""
    mean: float
    """Mean of the metric over the seeds."""
    std: float
    """Sample standard deviation of the metric over the seeds (n - 1)."""
    worst: float
    """Lowest value of the metric."""
    best: float
    """Highest value of the metric."""

    @property
    def median_trial(self) -> TrialResult:
        """The trial with the median score; of an even number the lower one of the middle two."""
        return self.trials[len(self.trials) // 2]


def rank_finalists(results: Sequence[TrialResult], metric: str, seeds: int) -> list[Finalist]:
    """Return the choices that have a usable trial with each of their `seeds` seeds, best mean first."""
    by_choice: dict[tuple[Any, ...], list[TrialResult]] = {}
    for row in results:
        if row.stage == "final" and is_usable(row):
            by_choice.setdefault(tuple(row.choice.values()), []).append(row)
    found = []
    for rows in by_choice.values():
        if len(rows) == seeds:
            values = [getattr(row, metric) for row in rows]
            spread = statistics.fmean(values), statistics.stdev(values), min(values), max(values)
            found.append(Finalist(tuple(rank_trials(rows, metric)), *spread))
    return sorted(found, key=lambda each: (-each.mean, each.trials[0].id))


def select_champion(results: Sequence[TrialResult], metric: str, seeds: int | None = None) -> TrialResult:
    """Return the usable trial with the best validation score; with finalists, the median trial of the best one.

    The finalists of a sweep that was stopped before one of them was done do not count.

    Args:
        results: all trials.
        metric: the validation metric that decides.
        seeds: trials per finalist; None without finalists.

    Raises:
        NoChampionError: no trial is usable.
    """
    if seeds is not None:
        best = rank_finalists(results, metric, seeds)
        if best:
            return best[0].median_trial
        if not _stopped_early(results):
            raise NoChampionError(f"no finalist has a usable model for each of its {seeds} seeds: {_counts(results)}")
    candidates = [row for row in results if is_usable(row) and (seeds is None or row.stage == "search")]
    if not candidates:
        raise NoChampionError(f"no trial has a usable model: {_counts(results)}")
    return rank_trials(candidates, metric)[0]


def _stopped_early(results: Sequence[TrialResult]) -> bool:
    """Whether the sweep was stopped before its finals, or in them."""
    return all(row.stage == "search" for row in results) or any(row.status == "unfinished" for row in results)


def _counts(results: Sequence[TrialResult]) -> str:
    counts = Counter(row.status for row in results)
    text = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    return f"{text}; the sweep has not finished: resume it with sweep --resume" if counts["unfinished"] else text


def best_choices(results: Sequence[TrialResult], metric: str, top: int) -> list[dict[str, Any]]:
    """Return the `top` best different choices among usable trials, best first."""
    choices: list[dict[str, Any]] = []
    for row in rank_trials([row for row in results if is_usable(row)], metric):
        if row.choice not in choices:
            choices.append(dict(row.choice))
    return choices[:top]


_SCORES = ("val_accuracy", "val_macro_f1")
_RESULT_COLUMNS = ("seed", "stage", "epochs", *_SCORES, "seconds", "status", "best_epoch", "reason")
INTERVAL_COLUMNS = tuple(f"{score}_{end}" for score in _SCORES for end in ("low", "high"))
COLUMNS = ("id", *AXES, *_RESULT_COLUMNS, *INTERVAL_COLUMNS)
"""Columns of every leaderboard CSV. Columns of settings of training and options of architectures follow `AXES`."""


def write_leaderboard(results: Sequence[TrialResult], file: Path) -> None:
    """Write a CSV with one row per trial, in the order given; replaces the file atomically."""
    axes = dict.fromkeys([*AXES, *(axis for row in results for axis in row.choice)])
    temporary = file.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("id", *axes, *_RESULT_COLUMNS, *INTERVAL_COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_csv_row(row) for row in results)
    temporary.replace(file)


def _csv_row(row: TrialResult) -> dict[str, Any]:
    scores = {name: getattr(row, name) for name in ("id", *_RESULT_COLUMNS)}
    if row.intervals is None:
        return {**row.choice, **scores}
    accuracy, macro_f1 = row.intervals.accuracy, row.intervals.macro_f1
    bounds = (accuracy.low, accuracy.high, macro_f1.low, macro_f1.high)
    return {**row.choice, **scores, **dict(zip(INTERVAL_COLUMNS, bounds, strict=True))}
