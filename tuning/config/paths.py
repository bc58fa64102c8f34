"""Absolute paths for worker processes, which run in other directories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.weight_names import is_weights_path
from tuning.config.schema.data import AUTO_GROUPS
from tuning.config.schema.space import ArchSpaceConfig
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError

ChangePath = Callable[[str], str]


def absolute_paths(config: SweepConfig) -> SweepConfig:
    """Return the settings with relative paths resolved against the current directory.

    Raises:
        ConfigError: a path starts with `~` and there is no such home folder.
    """
    return change_paths(config, _absolute)


def change_paths(config: SweepConfig, change: ChangePath) -> SweepConfig:
    """Return the settings with every path of a file or folder changed; buckets and names of weights stay."""
    data, store = config.data, config.store
    updates = {
        "runs_dir": change(config.runs_dir),
        "weights_dir": change(config.weights_dir) if config.weights_dir else None,
        "data": data.model_copy(
            update={
                "dir": change(data.dir) if data.dir else "",
                "split": change(data.split_file) if data.split_file else data.split or None,
                "labels": tuple(map(change, data.labels)),
                "groups": change(data.groups) if data.groups not in (None, AUTO_GROUPS) else data.groups,
            }
        ),
        "store": store.model_copy(
            update={
                "dir": store.dir if store.in_bucket else change(store.dir),
                "local": change(store.local) if store.local else None,
            }
        ),
        "models": {
            arch: {**settings, "weights": _changed_weights(settings["weights"], change)}
            if "weights" in settings
            else settings
            for arch, settings in config.models.items()
        },
        "space": config.space.model_copy(
            update={
                "by_arch": {
                    arch: tuple(_with_changed_weights(space, change) for space in spaces)
                    for arch, spaces in config.space.by_arch.items()
                }
            }
        ),
    }
    return config.model_copy(update=updates)


def _with_changed_weights(space: ArchSpaceConfig, change: ChangePath) -> ArchSpaceConfig:
    if space.weights is None:
        return space
    return space.model_copy(update={"weights": tuple(_changed_weights(each, change) for each in space.weights)})


def _changed_weights(weights: str, change: ChangePath) -> str:
    return change(weights) if is_weights_path(weights) else weights


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        raise ConfigError(f"{path!r} starts with a home folder that is not known here; give a path without ~") from None
