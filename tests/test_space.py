from __future__ import annotations

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.sample import Float

from tuning.config import parse_config
from tuning.space import AXES, build_search, trial_count

GRID = {"lr": [0.1, 0.01, 0.001], "num_frames": [8, 16]}
RANGE = {"lr": {"low": 0.001, "high": 0.1}}


def test_a_grid_has_every_combination() -> None:
    sweep = parse_config({"space": GRID})
    search = build_search(sweep, at_once=3)
    assert trial_count(sweep) == 2 * 2 * 3 * 2
    assert search.space["lr"] == {"grid_search": [0.1, 0.01, 0.001]}
    assert tuple(search.space) == AXES
    assert search.samples == 1
    assert isinstance(search.algorithm, BasicVariantGenerator)
    assert search.algorithm.max_concurrent == 3


def test_random_search_draws_as_many_as_asked_and_the_same_for_a_seed() -> None:
    sweep = parse_config({"space": RANGE, "search": {"algorithm": "random", "trials": 7, "seed": 3}})
    search = build_search(sweep, at_once=2)
    assert trial_count(sweep) == search.samples == 7
    assert isinstance(search.space["lr"], Float)


def test_optuna_keeps_to_the_trials_at_once() -> None:
    sweep = parse_config({"space": RANGE, "search": {"algorithm": "optuna", "trials": 7}})
    algorithm = build_search(sweep, at_once=2).algorithm
    assert isinstance(algorithm, ConcurrencyLimiter)
    assert algorithm.max_concurrent == 2


def test_asha_goes_by_our_epoch_and_can_be_switched_off() -> None:
    scheduler = build_search(parse_config({}), at_once=1).scheduler
    assert isinstance(scheduler, AsyncHyperBandScheduler)
    assert scheduler._time_attr == "epoch"
    off = parse_config({"search": {"asha": None}})
    assert isinstance(build_search(off, at_once=1).scheduler, FIFOScheduler)
