"""What settings of different sections say of each other: what can't be, and what would have no effect."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import ValidationError
from torch.nn.modules.batchnorm import _BatchNorm

from data.loading.sampling import FrameSelection
from models.architecture import DownloadableWeights
from models.errors import ModelError
from models.registry import build_model, check_input, check_weights, get_architecture, parse_options
from tuning.config.messages import first_fault, nearest, spelled
from tuning.config.schema import MODEL_AXIS, TRAIN_AXIS, LogRange, TrainConfig, corrected_twice
from tuning.config.subspace import Subspace, own_part
from tuning.config.sweep_config import SweepConfig


def check_consistent(sweep: SweepConfig) -> None:
    """Refuse settings that don't go together.

    Raises:
        ValueError: the first fault, in one line.
    """
    _check_names(sweep)
    for subspace in sweep.subspaces():
        _check_values(subspace)
        _check_train_axes(sweep, subspace)
        _check_input(sweep, subspace)
        for train in sweep.trainings(subspace):
            _check_selection(sweep, subspace, train)
            _check_fine_tuning(subspace, train)
    _check_void_values(sweep)
    _check_weights_dir(sweep)
    _check_frozen_statistics(sweep)
    _check_search(sweep)
    _check_balance(sweep)


_NO_AXES = {
    "epochs": "the scheduler and the leaderboard compare trials of as many epochs",
    "seed": "a lucky seed would win: search.finalists tries the best again with other seeds",
}


def _check_names(sweep: SweepConfig) -> None:
    """Every architecture, option and setting of training that is named exists."""
    for arch in [*sweep.space.arch, *sweep.models, *sweep.space.by_arch]:
        with _as_value_errors():
            get_architecture(arch)
            parse_options(arch, sweep.options(arch))
            check_weights(arch, sweep.weights(arch))
    own = [(f"space.by_arch.{arch}", each.train) for arch, spaces in sweep.space.by_arch.items() for each in spaces]
    for place, train in [("space", sweep.space.train), *own]:
        for name in train:
            if name not in TrainConfig.model_fields:
                near = nearest(name, list(TrainConfig.model_fields), prefix=[place, "train"])
                raise ValueError(f"unknown setting '{place}.train.{name}'{near}")
            if name in _NO_AXES:
                raise ValueError(f"{place}.train.{name} can't be tried: {_NO_AXES[name]}")
    for arch, spaces in sweep.space.by_arch.items():
        if not spaces:
            raise ValueError(f"space.by_arch.{arch} is an empty list, which leaves nothing to try: leave it out")


def _check_values(subspace: Subspace) -> None:
    for axis, values in subspace.axes.items():
        if isinstance(values, LogRange):
            continue
        if not values:
            raise ValueError(f"{subspace.place}: {axis} has no value to try")
        if any(value in values[:place] for place, value in enumerate(values)):
            raise ValueError(f"{subspace.place}: {axis} names a value twice")


def _check_train_axes(sweep: SweepConfig, subspace: Subspace) -> None:
    for choice in subspace.combinations(subspace.named(TRAIN_AXIS)):
        try:
            sweep.train_with(choice)
        except ValidationError as error:
            these = ", ".join(f"{name}={spelled(value)}" for name, value in own_part(choice, TRAIN_AXIS).items())
            raise ValueError(f"{subspace.place}.train has {these}: {first_fault(error, type(sweep))}") from None
    tried = own_part(subspace.axes, TRAIN_AXIS)
    for name, kind, other in (("stride", "dense", "uniform"), ("min_span", "uniform", "dense")):
        if len(tried.get(name, ())) > 1 and other in sweep.space.selection:
            raise ValueError(
                f"{subspace.place}.train.{name} has no effect on {other} frames, of which each trial would be there "
                f"several times: set space.selection={kind}"
            )


def _check_void_values(sweep: SweepConfig) -> None:
    """A setting that every trial has another value of has no effect."""
    subspaces = sweep.subspaces()
    for axis in subspaces[0].named(TRAIN_AXIS):
        name = axis.removeprefix(TRAIN_AXIS)
        value = getattr(sweep.train, name)
        if value != TrainConfig.model_fields[name].default and all(value not in s.listed(axis) for s in subspaces):
            raise ValueError(
                f"train.{name}={spelled(value)} has no effect where {subspaces[0].place}.train.{name} tries other "
                "values: add it to them, or leave it out"
            )
    for arch in sweep.space.arch:
        tried = {weights for s in subspaces if s.arch == arch for weights in s.listed("weights")}
        if "weights" in sweep.models.get(arch, {}) and sweep.weights(arch) not in tried:
            raise ValueError(
                f"models.{arch}.weights={sweep.weights(arch)} has no effect where space.by_arch.{arch}.weights tries "
                "others: add it to them, or leave it out"
            )


def _check_weights_dir(sweep: SweepConfig) -> None:
    sources = [
        get_architecture(s.arch).weights.get(weights) for s in sweep.subspaces() for weights in s.listed("weights")
    ]
    if sweep.weights_dir is not None and not any(isinstance(source, DownloadableWeights) for source in sources):
        raise ValueError(
            "weights_dir has no effect: no trial starts from named weights, such as imagenet, whose file would be "
            "looked up there; set models.ARCH.weights to some, or leave it out"
        )


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """What is raised as a model's fault is told as that of a setting."""
    try:
        yield
    except ModelError as error:
        raise ValueError(str(error)) from None


def _check_input(sweep: SweepConfig, subspace: Subspace) -> None:
    """The architecture takes the weights, the options, the frame counts and the sizes."""
    arch, sizes = subspace.arch, {train.size for train in sweep.trainings(subspace)}
    with _as_value_errors():
        for weights in subspace.listed("weights"):
            check_weights(arch, weights)
        for choice in subspace.combinations(subspace.named(MODEL_AXIS)):
            options = sweep.options(arch, choice)
            for num_frames, size in itertools.product(subspace.listed("num_frames"), sorted(sizes)):
                check_input(arch, options, num_frames, size)
    for num_frames in subspace.listed("num_frames"):
        if num_frames > sweep.store.frames:
            raise ValueError(
                f"{subspace.place}.num_frames {num_frames} is more than the {sweep.store.frames} frames that the store "
                f"keeps of a clip: set store.frames={num_frames}"
            )


def _check_selection(sweep: SweepConfig, subspace: Subspace, train: TrainConfig) -> None:
    selection, counts = sweep.space.selection, subspace.listed("num_frames")
    if "uniform" not in selection and train.min_span != 1:
        raise ValueError("train.min_span has no effect on dense frames: leave it out, or add uniform to selection")
    if "dense" not in selection:
        if train.stride != 1:
            raise ValueError("train.stride has no effect on uniform frames: leave it out, or add dense to selection")
        return
    span = max(FrameSelection(frames, "dense", train.stride).span for frames in counts)
    if span > sweep.store.frames:
        raise ValueError(
            f"{max(counts)} dense frames at train.stride={train.stride} span {span} stored frames, but the "
            f"store keeps {sweep.store.frames} of a clip: set store.frames={span}, or lower one of them"
        )


def _check_fine_tuning(subspace: Subspace, train: TrainConfig) -> None:
    arch, stages = subspace.arch, len(get_architecture(subspace.arch).stages)
    if isinstance(train.trainable, int) and train.trainable > stages:
        raise ValueError(f"train.trainable is {train.trainable}, but {arch}'s backbone has {stages} stages")
    if train.trainable == stages and train.unfreeze_every is not None:
        raise ValueError(f"train.unfreeze_every has no effect on {arch}, all of whose {stages} stages train")
    for name in ("trainable", "frozen_statistics"):
        value = getattr(train, name)
        if "none" in subspace.listed("weights") and value != TrainConfig.model_fields[name].default:
            raise ValueError(
                f"train.{name}={spelled(value)} would keep what {arch} has of its random start: set "
                f"models.{arch}.weights, leave one of them out, or give space.by_arch.{arch} a space for each"
            )


def _check_frozen_statistics(sweep: SweepConfig) -> None:
    subspaces = [s for s in sweep.subspaces() if any(train.frozen_statistics for train in sweep.trainings(s))]
    without = [s for s in subspaces if not _has_batch_norm(sweep, s)]
    varied = any(len(own_part(s.axes, TRAIN_AXIS).get("frozen_statistics", ())) > 1 for s in without)
    if without and (len(without) == len(subspaces) or varied):
        names = ", ".join(dict.fromkeys(s.arch for s in without))
        raise ValueError(f"train.frozen_statistics has no effect on {names}, which has no batch norm")


def _has_batch_norm(sweep: SweepConfig, subspace: Subspace) -> bool:
    sizes = {"num_frames": subspace.listed("num_frames")[0], "size": sweep.trainings(subspace)[0].size}
    with torch.device("meta"):
        model = build_model(subspace.arch, sweep.options(subspace.arch), num_classes=2, **sizes)
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def _check_balance(sweep: SweepConfig) -> None:
    space = sweep.space
    pairs = list(itertools.product(space.sampler, space.loss))
    twice = [f"{sampler} with {loss} loss" for sampler, loss in pairs if corrected_twice(sampler, loss)]
    if not twice and space.balanced_and_weighted != "refuse":
        raise ValueError("space.balanced_and_weighted has no effect: no trial has both; leave it out")
    if twice and space.balanced_and_weighted == "refuse":
        raise ValueError(
            f"the space has {', '.join(twice)}, which corrects the imbalance twice: rare classes then count by the "
            "square of their rarity, and neither remedy's effect can be told; set space.balanced_and_weighted to "
            "leave-out (try all but these) or try"
        )
    if len(twice) == len(pairs) and space.balanced_and_weighted == "leave-out":
        raise ValueError(f"leaving out {', '.join(twice)} leaves no trial: add imbalanced to sampler or plain to loss")
    if space.balanced_and_weighted == "leave-out" and sweep.search.algorithm == "optuna":
        raise ValueError(
            "space.balanced_and_weighted=leave-out does not work with search.algorithm=optuna: list one loss or one "
            "sampler, or set it to try"
        )


def _check_search(sweep: SweepConfig) -> None:
    search = sweep.search
    if search.algorithm == "grid":
        if search.trials is not None:
            raise ValueError("search.trials has no effect on a grid: leave it out, or set search.algorithm=random")
        for subspace in sweep.subspaces():
            if isinstance(subspace.axes["lr"], LogRange):
                raise ValueError(
                    f"{subspace.place}.lr is a range, which a grid can't try: list values, or set "
                    "search.algorithm=random"
                )
        _check_repeats(sweep)
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
        raise ValueError(f"data.val + data.test is {sweep.data.val + sweep.data.test:g}: nothing is left to train on")


def _check_repeats(sweep: SweepConfig) -> None:
    choices = sweep.choices()
    assert choices is not None
    seen: set[tuple[Any, ...]] = set()
    for choice in choices:
        if tuple(choice.values()) in seen:
            told = ", ".join(f"{axis}={spelled(value)}" for axis, value in choice.items() if value is not None)
            raise ValueError(f"two spaces of space.by_arch.{choice['arch']} have the same choice ({told}): drop one")
        seen.add(tuple(choice.values()))
