"""The search space, the search algorithm and the scheduler, as Tune takes them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from tuning.config.schema import LogRange
from tuning.config.subspace import Subspace, Values
from tuning.config.sweep_config import SweepConfig
from tuning.search.schedulers import build_scheduler


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
    points = sweep.choices()
    assert points is not None
    return points


def random_points(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Choices drawn at random, all different: an architecture first, then one of its spaces, then each axis."""
    assert sweep.search.trials is not None
    draws, subspaces = random.Random(sweep.search.seed), sweep.subspaces()
    points: list[dict[str, Any]] = []
    while len(points) < sweep.search.trials:
        arch = draws.choice(sweep.space.arch)
        subspace = draws.choice([subspace for subspace in subspaces if subspace.arch == arch])
        point = {axis: _drawn(values, draws) for axis, values in subspace.axes.items()}
        if sweep.allows(point) and point not in points:
            points.append(point)
    return points


def _drawn(values: Values, draws: random.Random) -> Any:
    return values.drawn(draws) if isinstance(values, LogRange) else draws.choice(values)


def build_search(sweep: SweepConfig) -> Search:
    """The config's space, algorithm and scheduler.

    Tune starts trials as there is room for them, also on nodes that join later, up to `resources.max_concurrent`.
    """
    limit = sweep.resources.max_concurrent
    scheduler = build_scheduler(sweep)
    if sweep.search.algorithm == "optuna":
        search = _ConditionalSearch(sweep)
        algorithm = ConcurrencyLimiter(search, limit) if limit is not None else search
        return Search({}, algorithm, trial_count(sweep), scheduler)
    points = grid_points(sweep) if sweep.search.algorithm == "grid" else random_points(sweep)
    return _listed_search(points, limit, scheduler)


def finals_search(sweep: SweepConfig, choices: Sequence[Mapping[str, Any]]) -> Search:
    """Each of these choices with each of the finalists' seeds, all trained to the end."""
    assert sweep.search.finalists is not None
    # Seeds that the search has not used: the best of many is partly luck, and its luck must not count again.
    seeds = range(sweep.train.seed + 1, sweep.train.seed + 1 + sweep.search.finalists.seeds)
    points = [{**choice, "seed": seed} for choice in choices for seed in seeds]
    return _listed_search(points, sweep.resources.max_concurrent, FIFOScheduler())


def _listed_search(points: Sequence[dict[str, Any]], limit: int | None, scheduler: TrialScheduler) -> Search:
    """The points are handed to Tune as they are: its own grid and draws know no spaces per architecture."""
    return Search(
        space={axis: tune.choice(list(dict.fromkeys(point[axis] for point in points))) for axis in points[0]},
        algorithm=BasicVariantGenerator(points_to_evaluate=list(points), max_concurrent=limit or 0),
        samples=len(points),
        scheduler=scheduler,
    )


class _ConditionalSearch(OptunaSearch):
    """Optuna's TPE over spaces that differ from one architecture to another (define-by-run)."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep = sweep
        # It tells of each study that it makes, on stderr, by a handler of its own.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(space=self._choose, metric=sweep.search.metric, mode="max", seed=sweep.search.seed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """A value for each axis, without Optuna's own names of them."""
        params = super().suggest(trial_id)
        assert params is not None
        return {axis: params[axis] for axis in self._sweep.subspaces()[0].axes}

    def _choose(self, trial: Any) -> dict[str, Any]:
        subspaces = self._sweep.subspaces()
        number = trial.suggest_categorical("space", list(range(len(subspaces)))) if len(subspaces) > 1 else 0
        return {axis: self._suggested(trial, axis, subspaces, number) for axis in subspaces[0].axes}

    @staticmethod
    def _suggested(trial: Any, axis: str, subspaces: Sequence[Subspace], number: int) -> Any:
        values = subspaces[number].axes[axis]
        # One parameter of the study for all that try the same; for others their own, since its range can't change.
        shared = all(subspace.axes[axis] == values for subspace in subspaces)
        name = f"any {axis}" if shared else f"{axis} in {number}"
        if isinstance(values, LogRange):
            return trial.suggest_float(name, values.low, values.high, log=True)
        return trial.suggest_categorical(name, list(values)) if len(values) > 1 else values[0]
