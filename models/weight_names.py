"""Distinguish names of weights from paths; imports nothing that takes long."""

from __future__ import annotations

from pathlib import Path


def is_weights_path(weights: str) -> bool:
    """Return whether weights look like the path of a file or folder: no name has a slash or a suffix."""
    return "/" in weights or "\\" in weights or bool(Path(weights).suffix)
