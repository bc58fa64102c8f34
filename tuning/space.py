"""The search space, the search algorithm and the scheduler, as Tune takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from tuning.config import LogRange, SweepConfig

AXES = ("arch", "sampler", "lr", "num_frames")


@dataclass(frozen=True, slots=True)
class Search:
    """What a `Tuner` needs to choose trials."""

    space: dict[str, Any]
    algorithm: SearchAlgorithm | Searcher
    samples: int
    scheduler: TrialScheduler


def trial_count(sweep: SweepConfig) -> int:
    """Trials of this sweep."""
    if sweep.search.trials is not None:
        return sweep.search.trials
    space = sweep.space
    assert not isinstance(space.lr, LogRange)
    return math.prod(map(len, (space.arch, space.sampler, space.lr, space.num_frames)))


def build_search(sweep: SweepConfig, at_once: int) -> Search:
    """The config's space, algorithm and scheduler, with at most `at_once` trials running."""
    grid = sweep.search.algorithm == "grid"
    return Search(
        space={axis: _domain(getattr(sweep.space, axis), grid) for axis in AXES},
        algorithm=_algorithm(sweep, at_once),
        samples=1 if grid else trial_count(sweep),
        scheduler=_scheduler(sweep),
    )


def _domain(values: tuple[Any, ...] | LogRange, grid: bool) -> Any:
    if isinstance(values, LogRange):
        return tune.loguniform(values.low, values.high)
    return tune.grid_search(list(values)) if grid else tune.choice(list(values))


def _algorithm(sweep: SweepConfig, at_once: int) -> SearchAlgorithm | Searcher:
    """Tune does not count what the training workers take: without the limit it would start all trials."""
    search = sweep.search
    if search.algorithm == "optuna":
        return ConcurrencyLimiter(OptunaSearch(metric=search.metric, mode="max", seed=search.seed), at_once)
    return BasicVariantGenerator(max_concurrent=at_once, random_state=search.seed)


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
