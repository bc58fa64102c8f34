"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from data.errors import DataError


def write_atomically(path: Path, text: str) -> None:
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


def check_output_paths(*paths: Path) -> None:
    """See, before anything that takes long, that these files can be written and that nothing lies there yet.

    Raises:
        DataError: a file is there (it may have been corrected by hand), two are the same, or a folder can't be written.
    """
    for number, path in enumerate(paths):
        if path.exists():
            raise DataError(f"'{path}' exists: give another name, or remove it")
        if path.absolute() in [other.absolute() for other in paths[:number]]:
            raise DataError(f"'{path}' is named for two outputs: give each its own")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise DataError(f"can't write '{path}': '{folder}' is a file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise DataError(f"can't write '{path}': no permission for '{folder}'")


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
