"""Defaults that follow from other settings, so that what a user did not set never contradicts what he set."""

from __future__ import annotations

from typing import Any, TypeVar

from data.loading.frame_selection import FrameSelection
from tuning.config.schema.base import Settings
from tuning.config.schema.data import DataConfig
from tuning.config.schema.search import SearchConfig
from tuning.config.schema.train import TrainConfig
from tuning.config.sweep_config import SweepConfig

_S = TypeVar("_S", bound=Settings)

_MOST_FRAMES = 1024
"""Frames per clip that a store can have."""


def with_fitting_defaults(sweep: SweepConfig) -> SweepConfig:
    """Return the settings with those defaults changed that do not fit what is set."""
    sweep = _derive(
        sweep,
        data=_fitting_seconds(sweep.data),
        train=_fitting_warmup(sweep.train),
        search=_fitting_grace(sweep.search, sweep.train.epochs),
    )
    return _fitting_frames(sweep)


def _derive(section: _S, **values: Any) -> _S:
    """Return a copy with other values that do not count as set by the user."""
    derived = section.model_copy(update=values)
    derived.model_fields_set.intersection_update(section.model_fields_set)
    return derived


def _fitting_seconds(data: DataConfig) -> DataConfig:
    if data.min_seconds < data.max_seconds:
        return data
    if "min_seconds" in data.model_fields_set:
        return _derive(data, max_seconds=2 * data.min_seconds)
    return _derive(data, min_seconds=data.max_seconds / 2)


def _fitting_warmup(train: TrainConfig) -> TrainConfig:
    if "warmup_epochs" in train.model_fields_set:
        return train
    return _derive(train, warmup_epochs=default_warmup(train.epochs))


def default_warmup(epochs: int) -> float:
    """Return the epochs of warm-up of trials that train for `epochs` epochs."""
    return min(1.0, epochs / 2)


def _fitting_grace(search: SearchConfig, epochs: int) -> SearchConfig:
    asha = search.asha
    if asha is None or "grace_epochs" in asha.model_fields_set:
        return search
    return _derive(search, asha=_derive(asha, grace_epochs=min(asha.grace_epochs, epochs)))


def _fitting_frames(sweep: SweepConfig) -> SweepConfig:
    """Store as many frames as trials take, or leave out the default frame counts that are more than are stored."""
    space, store = sweep.space, sweep.store
    if "frames" in store.model_fields_set:
        if "num_frames" in space.model_fields_set:
            return sweep
        fitting = tuple(count for count in space.num_frames if count <= store.frames) or (store.frames,)
        return _derive(sweep, space=_derive(space, num_frames=fitting))
    counts = [count for subspace in sweep.subspaces() for count in subspace.values("num_frames")]
    dense = [FrameSelection(count, "dense", stride=sweep.train.stride).span for count in counts]
    taken = max([*counts, *(dense if "dense" in space.selection else ())], default=0)
    return _derive(sweep, store=_derive(store, frames=min(_MOST_FRAMES, max(store.frames, taken))))
