"""Waiting for room on a full disk: a trial that waits loses nothing, one that fails loses what it has not written."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

_RESERVE = 4 * 2**20
"""Bytes beside a checkpoint, for what Ray writes of it."""
_PAUSE = 2.0


def has_room(folder: Path, checkpoint: Path | None) -> bool:
    """Whether the disk of a folder takes a checkpoint like this one."""
    size = sum(file.stat().st_size for file in checkpoint.iterdir()) if checkpoint is not None else 0
    return shutil.disk_usage(folder).free >= size + _RESERVE


def await_room(folder: Path, checkpoint: Path) -> None:
    """Return once the disk of a folder takes the checkpoint."""
    while not has_room(folder, checkpoint):
        time.sleep(_PAUSE)
