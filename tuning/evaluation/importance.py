"""How much of the differences between trials each axis explains."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.search.trial_result import TrialResult, is_usable

FEWEST = 4
_SEEDS = 5


@dataclass(frozen=True, slots=True)
class Importance:
    """An axis's share of the variance between trials."""

    axis: str
    share: float
    """Mean over several forests; all axes' shares add up to 1."""
    low: float
    high: float
    """The least and the most that one forest gave."""


def importances(results: Sequence[TrialResult], metric: str) -> list[Importance]:
    """By fANOVA (Hutter et al. 2014, ICML), the most important first; empty where too few trials differ.

    A trial counts with its best epoch, though those that were stopped early might have come further.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    rows = [row for row in results if is_usable(row) and not math.isnan(getattr(row, metric))]
    axes = _varied([row.choice for row in rows])
    if len(rows) < FEWEST or not axes or len({getattr(row, metric) for row in rows}) == 1:
        return []
    study = _study(rows, axes, metric)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed)) for seed in range(_SEEDS)]
    shares = {axis: [one[axis] for one in found] for axis in axes}
    rows_of = [Importance(axis, statistics.fmean(each), min(each), max(each)) for axis, each in shares.items()]
    return sorted(rows_of, key=lambda one: (-one.share, one.axis))


def _varied(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(axis for choice in choices for axis in choice)
    return [axis for axis in names if len({str(choice.get(axis)) for choice in choices}) > 1]


def _study(rows: Sequence[TrialResult], axes: Sequence[str], metric: str) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    space = {axis: _distribution([row.choice.get(axis) for row in rows]) for axis in axes}
    for row in rows:
        params = {axis: _value(row.choice.get(axis), space[axis]) for axis in axes}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=getattr(row, metric)))
    return study


def _distribution(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) < 3:
        return CategoricalDistribution(tuple(dict.fromkeys(str(value) for value in values)))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=low > 0 and high / low >= 10)


def _value(value: Any, distribution: Any) -> Any:
    return str(value) if hasattr(distribution, "choices") else float(value)
