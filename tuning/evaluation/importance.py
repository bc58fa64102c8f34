"""How much of the variance between trials each axis of the space explains (fANOVA)."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.search.trial_result import TrialResult, is_usable

MIN_TRIALS = 4
"""Fewer trials give no importance."""

_SEEDS = 5


@dataclass(frozen=True, slots=True)
class AxisImportance:
    """An axis's share of the variance between trials."""

    axis: str
    share: float
    """Mean over several random forests; the shares of all axes add up to 1."""
    low: float
    """Lowest share that one forest gave."""
    high: float
    """Highest share that one forest gave."""


def axis_importance(results: Sequence[TrialResult], metric: str) -> list[AxisImportance]:
    """Return the importance of each axis by fANOVA (Hutter et al. 2014, ICML), the most important axis first.

    A trial counts with its best epoch. Trials that were stopped early might have reached more with all epochs.

    Returns:
        An empty list if there are fewer than `MIN_TRIALS` usable trials, or if all have the same score.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    rows = [row for row in results if is_usable(row) and not math.isnan(getattr(row, metric))]
    axes = _varied_axes([row.choice for row in rows])
    if len(rows) < MIN_TRIALS or not axes or len({getattr(row, metric) for row in rows}) == 1:
        return []
    study = _study(rows, axes, metric)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forests = [
            get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed)) for seed in range(_SEEDS)
        ]
    shares = {axis: [forest[axis] for forest in forests] for axis in axes}
    found = [AxisImportance(axis, statistics.fmean(each), min(each), max(each)) for axis, each in shares.items()]
    return sorted(found, key=lambda one: (-one.share, one.axis))


def _varied_axes(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(axis for choice in choices for axis in choice)
    return [axis for axis in names if len({str(choice.get(axis)) for choice in choices}) > 1]


def _study(rows: Sequence[TrialResult], axes: Sequence[str], metric: str) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    space = {axis: _distribution([row.choice.get(axis) for row in rows]) for axis in axes}
    for row in rows:
        params = {axis: _param(row.choice.get(axis), space[axis]) for axis in axes}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=getattr(row, metric)))
    return study


def _distribution(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) < 3:
        return CategoricalDistribution(tuple(dict.fromkeys(str(value) for value in values)))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=low > 0 and high / low >= 10)


def _param(value: Any, distribution: Any) -> Any:
    return str(value) if hasattr(distribution, "choices") else float(value)
