"""The search space, the search algorithm and the scheduler, as Tune takes them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from tuning.config import LogRange, SweepConfig, corrected_twice


@dataclass(frozen=True, slots=True)
class Search:
    """What a `Tuner` needs to choose trials."""

    space: dict[str, Any]
    algorithm: SearchAlgorithm | Searcher
    samples: int
    scheduler: TrialScheduler


def trial_count(sweep: SweepConfig) -> int:
    """Trials of this sweep."""
    return sweep.search.trials if sweep.search.trials is not None else len(grid_points(sweep))


def grid_points(sweep: SweepConfig) -> list[dict[str, Any]]:
    """The choices that a grid tries, the last axis fastest."""
    axes = sweep.space.axes
    lists = [values for values in axes.values() if not isinstance(values, LogRange)]
    assert len(lists) == len(axes)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*lists)]
    leave_out = sweep.space.balanced_and_weighted == "leave-out"
    return [point for point in points if not (leave_out and corrected_twice(point["sampler"], point["loss"]))]


def build_search(sweep: SweepConfig, at_once: int) -> Search:
    """The config's space, algorithm and scheduler, with at most `at_once` trials running."""
    return Search(
        space={axis: _domain(values) for axis, values in sweep.space.axes.items()},
        algorithm=_algorithm(sweep, at_once),
        samples=trial_count(sweep),
        scheduler=_scheduler(sweep),
    )


def finals_search(sweep: SweepConfig, choices: Sequence[Mapping[str, Any]], at_once: int) -> Search:
    """Each of these choices with each of the finalists' seeds, all trained to the end."""
    assert sweep.search.finalists is not None
    # Seeds that the search has not used: the best of many is partly luck, and its luck must not count again.
    seeds = range(sweep.train.seed + 1, sweep.train.seed + 1 + sweep.search.finalists.seeds)
    points = [{**choice, "seed": seed} for choice in choices for seed in seeds]
    names = points[0].keys()
    return Search(
        space={name: tune.choice(list(dict.fromkeys(point[name] for point in points))) for name in names},
        algorithm=BasicVariantGenerator(points_to_evaluate=points, max_concurrent=at_once),
        samples=len(points),
        scheduler=FIFOScheduler(),
    )


def _domain(values: tuple[Any, ...] | LogRange) -> Any:
    if isinstance(values, LogRange):
        return tune.loguniform(values.low, values.high)
    return tune.choice(list(values))


def _algorithm(sweep: SweepConfig, at_once: int) -> SearchAlgorithm | Searcher:
    """Tune does not count what the training workers take: without the limit it would start all trials."""
    search = sweep.search
    if search.algorithm == "optuna":
        return ConcurrencyLimiter(OptunaSearch(metric=search.metric, mode="max", seed=search.seed), at_once)
    # A grid's points are handed over as they are: Tune's own grid has every combination, wanted or not.
    points = grid_points(sweep) if search.algorithm == "grid" else None
    return BasicVariantGenerator(points_to_evaluate=points, max_concurrent=at_once, random_state=search.seed)


def _scheduler(sweep: SweepConfig) -> TrialScheduler:
    asha = sweep.search.asha
    if asha is None:
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        # By our own epoch: Tune counts reports from 1 again when a trial's driver is restarted.
        time_attr="epoch",
        metric=sweep.search.metric,
        mode="max",
        max_t=sweep.train.epochs,
        grace_period=asha.grace_epochs,
        reduction_factor=asha.reduction_factor,
    )
