from __future__ import annotations

from typing import Any

import pytest
from ray.tune.experiment import Experiment
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher, SearchGenerator

from tuning.config.load import parse_config
from tuning.config.schema.space import AXES
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.errors import ConfigError
from tuning.search.algorithms import build_finals_search, build_search, count_trials, grid_choices, random_choices

GRID = {"lr": [0.1, 0.01, 0.001], "num_frames": [8, 16]}
RANGE = {"lr": {"low": 0.001, "high": 0.1}}


def tried(sweep: SweepConfig) -> list[tuple[Any, ...]]:
    """The values of the trials that Tune creates, in order."""
    search = build_search(sweep)
    algorithm = search.algorithm
    algorithm = SearchGenerator(algorithm) if isinstance(algorithm, Searcher) else algorithm
    algorithm.add_configurations(
        Experiment("grid", run=lambda config: None, config=search.space, num_samples=search.num_samples)
    )
    trials: list[tuple[Any, ...]] = []
    while (trial := algorithm.next_trial()) is not None:
        trials.append(tuple(trial.config[axis] for axis in sweep.subspaces()[0].axes))
    return trials


def test_grid_has_every_combination() -> None:
    sweep = parse_config({"space": GRID})
    search = build_search(sweep)
    assert count_trials(sweep) == search.num_samples == 2 * 2 * 3 * 2
    choices = grid_choices(sweep)
    assert [tuple(choice) for choice in choices] == [AXES] * 24
    assert len({tuple(choice.values()) for choice in choices}) == 24
    assert {choice["lr"] for choice in choices} == {0.1, 0.01, 0.001}
    assert isinstance(search.algorithm, BasicVariantGenerator)
    assert search.algorithm.max_concurrent == 0, "no limit, so that nodes that join later get trials"


def test_max_concurrent_limits_a_grid() -> None:
    sweep = parse_config({"space": GRID, "resources": {"max_concurrent": 3}})
    assert build_search(sweep).algorithm.max_concurrent == 3


def test_tune_tries_each_choice_of_a_grid_once() -> None:
    sweep = parse_config(
        {"space": GRID | {"loss": ["plain", "weighted"], "balanced_and_weighted": "leave-out", "arch": "c3d"}}
    )
    trials = tried(sweep)
    assert sorted(trials) == sorted(tuple(choice.values()) for choice in grid_choices(sweep))
    assert len(trials) == count_trials(sweep) == 3 * 3 * 2
    assert ("balanced", "weighted") not in {(sampler, loss) for _, sampler, loss, *_ in trials}


TRAIN_AXES = {"train": {"mixup": [0, 0.2], "ema": [None, 0.9], "trainable": ["all", 2]}, "arch": "c3d"}
WEIGHTS = {"c3d": {"weights": "c3d.pt"}}


def test_training_settings_are_axes_of_a_grid() -> None:
    sweep = parse_config({"space": TRAIN_AXES, "models": WEIGHTS})
    choices = grid_choices(sweep)
    assert [tuple(choice) for choice in choices] == [(*AXES, "train.mixup", "train.ema", "train.trainable")] * 64
    assert len({tuple(choice.values()) for choice in choices}) == 64
    assert tried(sweep) == [tuple(choice.values()) for choice in choices]


def test_random_search_keeps_the_types_of_training_values() -> None:
    sweep = parse_config(
        {"space": TRAIN_AXES, "models": WEIGHTS, "search": {"algorithm": "random", "trials": 40, "seed": 1}}
    )
    drawn = tried(sweep)
    index = list(sweep.subspaces()[0].axes).index("train.mixup")
    assert {repr(values[index:]) for values in drawn} >= {"(0.2, None, 2)", "(0, 0.9, 'all')"}
    for values in drawn:
        assert TrialConfig.from_choice(sweep, dict(zip(sweep.subspaces()[0].axes, values, strict=True)))


def test_finalists_keep_their_training_values() -> None:
    sweep = parse_config({"space": TRAIN_AXES, "models": WEIGHTS, "search": {"finalists": {"top": 2, "seeds": 2}}})
    search = build_finals_search(sweep, [grid_choices(sweep)[number] for number in (0, 63)])
    assert search.space["train.trainable"].categories == ["all", 2]
    assert search.space["train.ema"].categories == [None, 0.9]
    assert search.num_samples == 4


def test_random_search_draws_the_same_trials_for_the_same_seed() -> None:
    sweep = parse_config({"space": RANGE, "search": {"algorithm": "random", "trials": 7, "seed": 3}})
    search = build_search(sweep)
    assert count_trials(sweep) == search.num_samples == 7
    drawn = random_choices(sweep)
    assert drawn == random_choices(sweep)
    assert len({choice["lr"] for choice in drawn}) == 7
    assert all(0.001 <= choice["lr"] <= 0.1 for choice in drawn)
    other = parse_config({"space": RANGE, "search": {"algorithm": "random", "trials": 7, "seed": 4}})
    assert random_choices(other) != drawn


def test_random_search_draws_different_choices_and_refuses_more_than_exist() -> None:
    few = {"space": {"lr": 0.1, "num_frames": 8}, "search": {"algorithm": "random", "trials": 4}}
    assert len({tuple(choice.values()) for choice in random_choices(parse_config(few))}) == 4
    with pytest.raises(ConfigError, match="search.trials is 5, but there are 4 choices: set search.algorithm=grid"):
        parse_config({**few, "search": {"algorithm": "random", "trials": 5}})


OWN = {
    "arch": ["resnet18", "c3d"],
    "lr": {"low": 0.001, "high": 0.1},
    "by_arch": {
        "resnet18": [
            {"num_frames": 4},
            {"weights": "imagenet", "lr": {"low": 1e-5, "high": 1e-4}, "train": {"trainable": ["head", 2]}},
        ]
    },
}


@pytest.mark.parametrize("algorithm", ["random", "optuna"])
def test_each_architecture_is_searched_in_its_own_subspaces(algorithm: str) -> None:
    sweep = parse_config({"space": OWN, "search": {"algorithm": algorithm, "trials": 40}})
    trials = [dict(zip(sweep.subspaces()[0].axes, values, strict=True)) for values in tried(sweep)]
    assert len(trials) == 40
    kinds = set()
    for trial in trials:
        assert TrialConfig.from_choice(sweep, trial)
        kinds.add((trial["arch"], trial["weights"], trial["train.trainable"]))
        low, high = (1e-5, 1e-4) if trial["weights"] == "imagenet" else (0.001, 0.1)
        assert low <= trial["lr"] <= high
        assert (trial["num_frames"] == 4) == (trial["arch"] == "resnet18" and trial["weights"] == "none")
    assert kinds == {
        ("resnet18", "none", "all"),
        ("resnet18", "imagenet", "head"),
        ("resnet18", "imagenet", 2),
        ("c3d", "none", "all"),
    }


def test_grid_of_subspaces_is_their_union() -> None:
    own = {**OWN, "lr": [0.1, 0.2], "num_frames": [8, 16]}
    own["by_arch"] = {"resnet18": [{"num_frames": 4}, {"weights": "imagenet", "lr": 0.3, "num_frames": 2}]}
    sweep = parse_config({"space": own})
    assert count_trials(sweep) == 2 * 2 + 2 + 2 * 2 * 2
    assert tried(sweep) == [tuple(choice.values()) for choice in grid_choices(sweep)]


def test_max_concurrent_limits_optuna() -> None:
    optuna = {"space": RANGE, "search": {"algorithm": "optuna", "trials": 4}}
    assert not isinstance(build_search(parse_config(optuna)).algorithm, ConcurrencyLimiter)
    limited = build_search(parse_config({**optuna, "resources": {"max_concurrent": 2}})).algorithm
    assert isinstance(limited, ConcurrencyLimiter)
    assert limited.max_concurrent == 2


def test_finals_train_each_choice_with_seeds_that_the_search_did_not_use() -> None:
    sweep = parse_config({"space": GRID, "train": {"seed": 5}, "search": {"finalists": {"top": 2, "seeds": 3}}})
    choices = grid_choices(sweep)[:2]
    search = build_finals_search(sweep, choices)
    assert search.num_samples == 6
    assert isinstance(search.scheduler, FIFOScheduler)
    search.algorithm.add_configurations(
        Experiment("finals", run=lambda config: None, config=search.space, num_samples=search.num_samples)
    )
    trials = []
    while (trial := search.algorithm.next_trial()) is not None:
        trials.append(trial.config)
    assert {trial["seed"] for trial in trials} == {6, 7, 8}
    assert [{axis: trial[axis] for axis in AXES} for trial in trials[::3]] == choices
    assert TrialConfig.from_choice(sweep, trials[0]).train.seed == 6
