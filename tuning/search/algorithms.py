"""Search algorithms: which choices become trials."""

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

from tuning.config.schema.space import LogRange
from tuning.config.subspace import AxisValues, Subspace
from tuning.config.sweep_config import SweepConfig
from tuning.search.schedulers import build_scheduler


@dataclass(frozen=True, slots=True)
class TuneSearch:
    """The arguments of a `Tuner` that determine its trials."""

    space: dict[str, Any]
    algorithm: SearchAlgorithm | Searcher
    num_samples: int
    scheduler: TrialScheduler


def count_trials(sweep: SweepConfig) -> int:
    """Return the number of trials of the search, without finalists."""
    return sweep.search.trials if sweep.search.trials is not None else len(grid_choices(sweep))


def grid_choices(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Return the choices of a grid search; the last axis varies fastest."""
    choices = sweep.choices()
    assert choices is not None
    return choices


def random_choices(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Return `search.trials` different random choices.

    Each draws an architecture first, then one of its subspaces, then a value on each axis.
    """
    assert sweep.search.trials is not None
    rng, subspaces = random.Random(sweep.search.seed), sweep.subspaces()
    choices: list[dict[str, Any]] = []
    while len(choices) < sweep.search.trials:
        arch = rng.choice(sweep.space.arch)
        subspace = rng.choice([subspace for subspace in subspaces if subspace.arch == arch])
        choice = {axis: _sample(values, rng) for axis, values in subspace.axes.items()}
        if sweep.allows(choice) and choice not in choices:
            choices.append(choice)
    return choices


def _sample(values: AxisValues, rng: random.Random) -> Any:
    return values.sample(rng) if isinstance(values, LogRange) else rng.choice(values)


def build_search(sweep: SweepConfig) -> TuneSearch:
    """Return the search of a sweep, without finalists.

    Tune starts a trial whenever resources are free, also on nodes that join later, up to `resources.max_concurrent`.
    """
    max_concurrent = sweep.resources.max_concurrent
    scheduler = build_scheduler(sweep)
    if sweep.search.algorithm == "optuna":
        search = _ConditionalSearch(sweep)
        algorithm = ConcurrencyLimiter(search, max_concurrent) if max_concurrent is not None else search
        return TuneSearch({}, algorithm, count_trials(sweep), scheduler)
    choices = grid_choices(sweep) if sweep.search.algorithm == "grid" else random_choices(sweep)
    return _listed_search(choices, max_concurrent, scheduler)


def build_finals_search(sweep: SweepConfig, choices: Sequence[Mapping[str, Any]]) -> TuneSearch:
    """Return the search that trains each of these choices to the end with each of the finalists' seeds."""
    assert sweep.search.finalists is not None
    # Not the seed of the search: the best of many trials is partly luck, which must not count twice.
    seeds = range(sweep.train.seed + 1, sweep.train.seed + 1 + sweep.search.finalists.seeds)
    seeded = [{**choice, "seed": seed} for choice in choices for seed in seeds]
    return _listed_search(seeded, sweep.resources.max_concurrent, FIFOScheduler())


def _listed_search(
    choices: Sequence[dict[str, Any]], max_concurrent: int | None, scheduler: TrialScheduler
) -> TuneSearch:
    """Return a search of exactly these choices: Tune's own grid and random search have one space for all trials."""
    return TuneSearch(
        space={axis: tune.choice(list(dict.fromkeys(choice[axis] for choice in choices))) for axis in choices[0]},
        algorithm=BasicVariantGenerator(points_to_evaluate=list(choices), max_concurrent=max_concurrent or 0),
        num_samples=len(choices),
        scheduler=scheduler,
    )


class _ConditionalSearch(OptunaSearch):
    """Optuna's TPE over a union of subspaces, defined by run."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep = sweep
        # Optuna logs each new study to stderr through its own handler.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(space=self._define, metric=sweep.search.metric, mode="max", seed=sweep.search.seed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the value of each axis, by the axis's name instead of Optuna's parameter name."""
        params = super().suggest(trial_id)
        assert params is not None
        return {axis: params[axis] for axis in self._sweep.subspaces()[0].axes}

    def _define(self, trial: Any) -> dict[str, Any]:
        subspaces = self._sweep.subspaces()
        index = trial.suggest_categorical("space", list(range(len(subspaces)))) if len(subspaces) > 1 else 0
        return {axis: self._suggest_value(trial, axis, subspaces, index) for axis in subspaces[0].axes}

    @staticmethod
    def _suggest_value(trial: Any, axis: str, subspaces: Sequence[Subspace], index: int) -> Any:
        values = subspaces[index].axes[axis]
        # Subspaces with the same values share a parameter; others have their own, since its range can't change.
        shared = all(subspace.axes[axis] == values for subspace in subspaces)
        name = f"any {axis}" if shared else f"{axis} in {index}"
        if isinstance(values, LogRange):
            return trial.suggest_float(name, values.low, values.high, log=True)
        return trial.suggest_categorical(name, list(values)) if len(values) > 1 else values[0]
