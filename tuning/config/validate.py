"""Checks across the sections of a sweep's settings."""

from __future__ import annotations

import itertools
from typing import Any

from models.registry import check_weights, get_architecture, parse_options
from tuning.config.messages import as_yaml
from tuning.config.schema.space import LogRange, corrects_imbalance_twice
from tuning.config.schema.train import TrainConfig
from tuning.config.suggestions import FIXED_IN_A_SWEEP, suggestion
from tuning.config.sweep_config import SweepConfig
from tuning.config.unused import check_frozen_statistics, check_overridden_values, check_weights_dir_used
from tuning.config.validate_subspace import check_subspace, model_errors_as_value_errors


def check_consistent(sweep: SweepConfig) -> None:
    """Check that the settings of all sections work together.

    Raises:
        ValueError: the first problem, in one line.
    """
    _check_names(sweep)
    for subspace in sweep.subspaces():
        check_subspace(sweep, subspace)
    check_overridden_values(sweep)
    check_weights_dir_used(sweep)
    check_frozen_statistics(sweep)
    _check_search(sweep)
    _check_balance(sweep)
    _check_stored_views(sweep)


def _check_names(sweep: SweepConfig) -> None:
    """Check that the architectures, their options and the axes of training exist."""
    for arch in [*sweep.space.arch, *sweep.models, *sweep.space.by_arch]:
        with model_errors_as_value_errors():
            get_architecture(arch)
            parse_options(arch, sweep.options(arch))
            check_weights(arch, sweep.weights(arch))
    own = [(f"space.by_arch.{arch}", each.train) for arch, spaces in sweep.space.by_arch.items() for each in spaces]
    for key, train in [("space", sweep.space.train), *own]:
        for name in train:
            if name not in TrainConfig.model_fields:
                near = suggestion(name, list(TrainConfig.model_fields), prefix=[key, "train"])
                raise ValueError(f"unknown setting '{key}.train.{name}'{near}")
            if name in FIXED_IN_A_SWEEP:
                raise ValueError(f"{key}.train.{name} can't be tried: {FIXED_IN_A_SWEEP[name]}")
    for arch, spaces in sweep.space.by_arch.items():
        if not spaces:
            raise ValueError(f"space.by_arch.{arch} is an empty list, which leaves nothing to try: leave it out")


def _check_search(sweep: SweepConfig) -> None:
    search = sweep.search
    if search.algorithm == "grid":
        _check_grid(sweep)
    elif search.trials is None:
        raise ValueError(f"search.algorithm={search.algorithm} needs search.trials, the number of trials")
    elif search.algorithm == "random" and (choices := sweep.choices()) is not None and search.trials > len(choices):
        raise ValueError(
            f"search.trials is {search.trials}, but there are {len(choices)} choices: set search.algorithm=grid "
            "without search.trials, which tries them all"
        )
    if search.asha is not None and search.asha.grace_epochs > sweep.train.epochs:
        raise ValueError(
            f"search.asha.grace_epochs ({search.asha.grace_epochs}) is more than train.epochs "
            f"({sweep.train.epochs}): no trial could be stopped; lower it or set search.asha=null"
        )
    if sweep.data.val + sweep.data.test >= 1:
        raise ValueError(
            f"data.val + data.test is {sweep.data.val + sweep.data.test:g}: nothing is left to train on; lower them"
        )


def _check_grid(sweep: SweepConfig) -> None:
    if sweep.search.trials is not None:
        raise ValueError("search.trials has no effect on a grid: leave it out, or set search.algorithm=random")
    for subspace in sweep.subspaces():
        if isinstance(subspace.axes["lr"], LogRange):
            raise ValueError(
                f"{subspace.key}.lr is a range, which a grid can't try: list values, or set search.algorithm=random"
            )
    choices = sweep.choices()
    assert choices is not None
    known: set[tuple[Any, ...]] = set()
    for choice in choices:
        if tuple(choice.values()) in known:
            values = ", ".join(f"{axis}={as_yaml(value)}" for axis, value in choice.items() if value is not None)
            raise ValueError(f"two spaces of space.by_arch.{choice['arch']} have the same choice ({values}): drop one")
        known.add(tuple(choice.values()))


def _check_balance(sweep: SweepConfig) -> None:
    space = sweep.space
    pairs = list(itertools.product(space.sampler, space.loss))
    twice = [f"{sampler} with {loss} loss" for sampler, loss in pairs if corrects_imbalance_twice(sampler, loss)]
    if not twice and space.balanced_and_weighted != "refuse":
        raise ValueError("space.balanced_and_weighted has no effect: no trial has both; leave it out")
    if twice and space.balanced_and_weighted == "refuse":
        raise ValueError(
            f"the space has {', '.join(twice)}, which corrects the imbalance twice: rare classes then count by the "
            "square of their rarity, and the effects of sampler and loss can't be told apart; set "
            "space.balanced_and_weighted to leave-out (try all but these) or try"
        )
    if len(twice) == len(pairs) and space.balanced_and_weighted == "leave-out":
        raise ValueError(f"leaving out {', '.join(twice)} leaves no trial: add imbalanced to sampler or plain to loss")
    if space.balanced_and_weighted == "leave-out" and sweep.search.algorithm == "optuna":
        raise ValueError(
            "space.balanced_and_weighted=leave-out does not work with search.algorithm=optuna: list one loss or one "
            "sampler, or set it to try"
        )


def _check_stored_views(sweep: SweepConfig) -> None:
    stored = any(train.stored_views for subspace in sweep.subspaces() for train in sweep.train_configs(subspace))
    if stored and "://" in sweep.store.dir:
        raise ValueError(
            "train.stored_views can't keep features in a bucket: set store.dir to a folder that all nodes mount"
        )
