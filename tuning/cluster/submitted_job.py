"""A job that `ray job submit --working-dir` has sent to a cluster: it runs in a copy that Ray removes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from models.weight_names import is_weights_path
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError

WORKING_DIRS = "working_dir_files"
"""Name of the folder into which Ray unpacks working directories; it removes each when no job uses it any more."""


def working_dir_copy(path: Path) -> Path | None:
    """Return the copy of a submitted working directory that contains `path`; None if there is no such copy."""
    return next((folder for folder in (path, *path.parents) if folder.parent.name == WORKING_DIRS), None)


def check_lasting_paths(config: SweepConfig, copy: Path | None) -> None:
    """Check that nothing that a sweep writes, or reads again on resume, is in a copy that Ray removes after the job.

    Files that are read only once, when a sweep starts (its config, a split, labels, groups), may be in the copy.

    Args:
        config: settings with absolute paths.
        copy: result of `working_dir_copy` for the current directory.

    Raises:
        ConfigError: such a path is in the copy; names the setting.
    """
    if copy is None:
        return
    for name, path in _lasting_paths(config):
        normalised = Path(os.path.normpath(path))
        if normalised.is_relative_to(copy.parent):
            raise ConfigError(
                f"{name} is {os.path.relpath(normalised, copy)!r}, inside a submitted job's copy of the working "
                "directory, which Ray removes after the job: give an absolute path on storage that all nodes mount, "
                f"such as /mnt/sweep/{normalised.name}"
            )


def _lasting_paths(config: SweepConfig) -> Iterator[tuple[str, str]]:
    yield "data.dir (--data)", config.data.dir
    yield "runs_dir", config.runs_dir
    if not config.store.in_bucket:
        yield "store.dir", config.store.dir
    if config.store.local:
        yield "store.local", config.store.local
    if config.weights_dir:
        yield "weights_dir", config.weights_dir
    for arch, weights in weight_paths(config):
        yield f"{arch}'s weights", weights


def weight_paths(config: SweepConfig) -> list[tuple[str, str]]:
    """Return each architecture and path of weights (file or folder) that its trials start from.

    Weights with a name, which the registry knows, have no path.
    """
    paths = {
        (subspace.arch, weights): None
        for subspace in config.subspaces()
        for weights in subspace.values("weights")
        if is_weights_path(weights)
    }
    return list(paths)
