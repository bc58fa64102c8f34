"""Wait for free disk space: a trial that waits loses nothing, one that fails loses its latest epoch."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

_RESERVED_BYTES = 4 * 2**20
"""For the files that Ray writes along with a checkpoint."""
_POLL_SECONDS = 2.0


def has_disk_space(folder: Path, checkpoint: Path | None) -> bool:
    """Return whether the disk of `folder` has space for a copy of `checkpoint` (None: for Ray's own files)."""
    size = sum(file.stat().st_size for file in checkpoint.iterdir()) if checkpoint is not None else 0
    return shutil.disk_usage(folder).free >= size + _RESERVED_BYTES


def wait_for_disk_space(folder: Path, checkpoint: Path) -> None:
    """Block until the disk of `folder` has space for a copy of `checkpoint`."""
    while not has_disk_space(folder, checkpoint):
        time.sleep(_POLL_SECONDS)
