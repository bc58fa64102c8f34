"""Defaults that follow from other settings, so that what a user did not set never contradicts what he set."""

from __future__ import annotations

from collections.abc import Iterable
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

_LIMITS = (
    ("train.warmup_epochs", "train.epochs", False),
    ("train.patience", "train.epochs", False),
    ("train.unfreeze_every", "train.epochs", False),
    ("search.asha.grace_epochs", "train.epochs", True),
    ("train.micro_batch", "train.batch_size", False),
)
"""A setting, the setting that it must be below, and whether it may be equal to that."""


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
    return _derive(train, warmup_epochs=min(train.warmup_epochs, train.epochs / 2))


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


def drop_outdated_limits(settings: Any, overridden: Iterable[str]) -> list[str]:
    """Remove limits of a config file that an override has made ineffective, such as more warm-up epochs than epochs.

    Args:
        settings: nested plain values of the file and the overrides; changed in place.
        overridden: dotted keys of the overrides.

    Returns:
        One line on each setting that was removed.
    """
    keys, notes = list(overridden), []
    for key, limit, may_equal in _LIMITS:
        value, largest = _find(settings, key), _find(settings, limit)
        given = any(f"{key}.".startswith(f"{each}.") for each in keys)
        if limit not in keys or given or not isinstance(value, int | float) or not isinstance(largest, int):
            continue
        if largest < 1:
            continue  # Refused in any case.
        if value > largest or (value == largest and not may_equal):
            _section(settings, key).pop(key.rpartition(".")[2])
            notes.append(f"{key}={value} of the config file is not used, because {limit} is {largest}")
    return notes


def _section(settings: Any, key: str) -> dict[str, Any]:
    """Return the mapping that holds a dotted key; empty if there is none."""
    for name in key.split(".")[:-1]:
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings if isinstance(settings, dict) else {}


def _find(settings: Any, key: str) -> Any:
    return _section(settings, key).get(key.rpartition(".")[2])
