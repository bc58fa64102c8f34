"""Check that a sweep can write its outputs; light to import, as it comes first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.tracking.server import database_file, resolve_uri


def check_sweep_outputs(config: SweepConfig, *, new: bool) -> None:
    """Check that every folder can be written that a sweep writes to; creates nothing.

    Args:
        config: the settings.
        new: check MLflow's database too; a resumed run has a file that keeps what MLflow misses.

    Raises:
        ConfigError: one can't.
    """
    for setting, folder in _output_folders(config):
        check_folder_writable(setting, folder)
    database = database_file(resolve_uri(config.tracking, Path(config.runs_dir)))
    if database is not None and new:
        check_folder_writable("the folder of the MLflow database", database.parent)
        if database.exists() and not os.access(database, os.W_OK):
            raise ConfigError(f"the MLflow database {str(database)!r} can't be written: you lack permission for it")


def _output_folders(config: SweepConfig) -> Iterator[tuple[str, Path]]:
    yield "runs_dir", Path(config.runs_dir)
    if not config.store.in_bucket:
        yield "store.dir", Path(config.store.dir)
    if config.store.local is not None:
        yield "store.local", Path(config.store.local)
    try:
        yield "TMPDIR", Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ConfigError(f"no temporary folder can be written ({error.strerror}): set TMPDIR to another one") from None


def check_folder_writable(setting: str, folder: Path) -> None:
    """Check that files can be created in a folder, or the folder itself; creates nothing.

    Args:
        setting: what chooses the folder, for the message.
        folder: need not exist yet.

    Raises:
        ConfigError: they can't.
    """
    nearest = nearest_folder(folder)
    if not nearest.is_dir():
        raise ConfigError(
            f"{setting} {str(folder)!r} can't be created: {str(nearest)!r} is a file; give another folder"
        )
    try:
        # Permission bits don't tell: root passes them, and a file system may be read-only, full or over its quota.
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise ConfigError(
            f"{setting} {str(folder)!r} can't be written ({str(nearest)!r}: {error.strerror}); give another folder"
        ) from None


def nearest_folder(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())
