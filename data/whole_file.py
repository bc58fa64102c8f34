"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from data.errors import DataError


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; missing folders above it are made.

    Raises:
        DataError: it can't be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8", newline="")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"can't write '{path}': {error.strerror}") from error
