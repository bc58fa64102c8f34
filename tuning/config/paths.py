"""Absolute paths for worker processes, which run in other directories."""

from __future__ import annotations

from pathlib import Path

from models.weight_names import is_weights_path
from tuning.config.schema.data import AUTO_GROUPS
from tuning.config.schema.space import ArchSpaceConfig
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError


def absolute_paths(config: SweepConfig) -> SweepConfig:
    """Return the settings with relative paths resolved against the current directory.

    Raises:
        ConfigError: a path starts with `~` and there is no such home folder.
    """
    data, store = config.data, config.store
    updates = {
        "runs_dir": _absolute(config.runs_dir),
        "weights_dir": _absolute(config.weights_dir) if config.weights_dir else None,
        "data": data.model_copy(
            update={
                "dir": _absolute(data.dir) if data.dir else "",
                "split": _absolute(data.split_file) if data.split_file else data.split,
                "labels": tuple(map(_absolute, data.labels)),
                "groups": _absolute(data.groups) if data.groups not in (None, AUTO_GROUPS) else data.groups,
            }
        ),
        "store": store.model_copy(
            update={
                "dir": store.dir if store.in_bucket else _absolute(store.dir),
                "local": _absolute(store.local) if store.local else None,
            }
        ),
        "models": {
            arch: {**settings, "weights": _absolute_weights(settings["weights"])} if "weights" in settings else settings
            for arch, settings in config.models.items()
        },
        "space": config.space.model_copy(
            update={
                "by_arch": {
                    arch: tuple(_with_absolute_weights(space) for space in spaces)
                    for arch, spaces in config.space.by_arch.items()
                }
            }
        ),
    }
    return config.model_copy(update=updates)


def _with_absolute_weights(space: ArchSpaceConfig) -> ArchSpaceConfig:
    if space.weights is None:
        return space
    return space.model_copy(update={"weights": tuple(_absolute_weights(each) for each in space.weights)})


def _absolute_weights(weights: str) -> str:
    return _absolute(weights) if is_weights_path(weights) else weights


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:
        raise ConfigError(f"{path!r} starts with a home folder that is not known here; give a path without ~") from None
