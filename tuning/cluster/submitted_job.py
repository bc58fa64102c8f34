"""What is different in a job that `ray job submit --working-dir` has sent to a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from models.registry import ARCHITECTURES
from tuning.config.schema import ConfigError
from tuning.config.sweep_config import SweepConfig

COPIES = "working_dir_files"
"""Ray unpacks working directories in here, each in a folder of its own, and removes them when no job uses them."""


def working_copy(here: Path) -> Path | None:
    """The copy of the submitted working directory that `here` is or lies in; None where it lies in none."""
    return next((folder for folder in (here, *here.parents) if folder.parent.name == COPIES), None)


def refuse_lost_paths(config: SweepConfig, copy: Path | None) -> None:
    """Refuse to keep in a copy that goes with the job what a sweep writes, or what it reads again when it goes on.

    Files that are read once, when a sweep begins (its config, a split, groups), may lie there.

    Args:
        config: with absolute paths.
        copy: as of `working_copy`.

    Raises:
        ConfigError: such a path lies in the copy; says which setting.
    """
    if copy is None:
        return
    for name, path in _lasting_paths(config):
        place = Path(os.path.normpath(path))
        if place.is_relative_to(copy.parent):
            raise ConfigError(
                f"{name} is {os.path.relpath(place, copy)!r}, which lies in a submitted job's own copy of the working "
                "directory and goes with it: give an absolute path on storage that all nodes mount, such as "
                f"/mnt/sweep/{place.name}"
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
    """Architectures and the files or folders that their trials start from, but for weights that have a name."""
    found = {
        (subspace.arch, weights): None
        for subspace in config.subspaces()
        for weights in subspace.listed("weights")
        if weights not in ("none", *ARCHITECTURES[subspace.arch].weights)
    }
    return list(found)
