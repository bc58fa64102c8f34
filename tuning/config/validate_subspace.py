"""Checks of the search space of one architecture."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from data.loading.frame_selection import FrameSelection
from models.errors import ModelError
from models.registry import check_input, check_weights, get_architecture
from tuning.config.messages import as_yaml, validation_message
from tuning.config.schema.space import MODEL_PREFIX, TRAIN_PREFIX, LogRange
from tuning.config.schema.train import TrainConfig
from tuning.config.subspace import Subspace, select_prefix
from tuning.config.sweep_config import SweepConfig


def check_subspace(sweep: SweepConfig, subspace: Subspace) -> None:
    """Check that every combination of a subspace's values can be trained.

    Raises:
        ValueError: the first problem, in one line.
    """
    _check_values(subspace)
    _check_train_axes(sweep, subspace)
    _check_input(sweep, subspace)
    for train in sweep.train_configs(subspace):
        _check_selection(sweep, subspace, train)
        _check_fine_tuning(subspace, train)


@contextmanager
def model_errors_as_value_errors() -> Iterator[None]:
    """Re-raise ModelError as ValueError."""
    try:
        yield
    except ModelError as error:
        raise ValueError(str(error)) from None


def _check_values(subspace: Subspace) -> None:
    for axis, values in subspace.axes.items():
        if isinstance(values, LogRange):
            continue
        if not values:
            raise ValueError(f"{subspace.key}: {axis} has no value to try")
        if any(value in values[:index] for index, value in enumerate(values)):
            raise ValueError(f"{subspace.key}: {axis} names a value twice")


def _check_train_axes(sweep: SweepConfig, subspace: Subspace) -> None:
    for choice in subspace.combinations(subspace.axes_with(TRAIN_PREFIX)):
        try:
            sweep.train_config(choice)
        except ValidationError as error:
            values = ", ".join(
                f"{name}={as_yaml(value)}" for name, value in select_prefix(choice, TRAIN_PREFIX).items()
            )
            raise ValueError(f"{subspace.key}.train has {values}: {validation_message(error, type(sweep))}") from None
    tried = select_prefix(subspace.axes, TRAIN_PREFIX)
    for name, selection, other in (("stride", "dense", "uniform"), ("min_span", "uniform", "dense")):
        if len(tried.get(name, ())) > 1 and other in sweep.space.selection:
            raise ValueError(
                f"{subspace.key}.train.{name} has no effect on {other} frames, so that trials would be repeated: set "
                f"space.selection={selection}"
            )


def _check_input(sweep: SweepConfig, subspace: Subspace) -> None:
    """Check that the architecture accepts the weights, options, frame counts and sizes."""
    arch, sizes = subspace.arch, {train.size for train in sweep.train_configs(subspace)}
    with model_errors_as_value_errors():
        for weights in subspace.values("weights"):
            check_weights(arch, weights)
        for choice in subspace.combinations(subspace.axes_with(MODEL_PREFIX)):
            options = sweep.options(arch, choice)
            for num_frames, size in itertools.product(subspace.values("num_frames"), sorted(sizes)):
                check_input(arch, options, num_frames, size)
    for num_frames in subspace.values("num_frames"):
        if num_frames > sweep.store.frames:
            raise ValueError(
                f"{subspace.key}.num_frames {num_frames} is more than the {sweep.store.frames} frames stored per clip: "
                f"set store.frames={num_frames}, or lower it"
            )


def _check_selection(sweep: SweepConfig, subspace: Subspace, train: TrainConfig) -> None:
    selection, counts = sweep.space.selection, subspace.values("num_frames")
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
            f"store has {sweep.store.frames} per clip: set store.frames={span}, or lower one of them"
        )


def _check_fine_tuning(subspace: Subspace, train: TrainConfig) -> None:
    arch, stages = subspace.arch, len(get_architecture(subspace.arch).stages)
    if isinstance(train.trainable, int) and train.trainable > stages:
        raise ValueError(
            f"train.trainable is {train.trainable}, but {arch}'s backbone has {stages} stages: lower it, or set it to "
            "all"
        )
    if train.trainable == stages and train.unfreeze_every is not None:
        raise ValueError(
            f"train.unfreeze_every has no effect on {arch}, all of whose {stages} stages train: lower train.trainable, "
            "or leave it out"
        )
    for name in ("trainable", "frozen_statistics"):
        value = getattr(train, name)
        if "none" in subspace.values("weights") and value != TrainConfig.model_fields[name].default:
            raise ValueError(
                f"train.{name}={as_yaml(value)} would freeze random weights of {arch}: set models.{arch}.weights, "
                f"leave one of them out, or give space.by_arch.{arch} a space for each"
            )
