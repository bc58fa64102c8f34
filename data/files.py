"""Write files atomically, check output paths in advance, hash files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import DataError


def write_atomically(path: Path, text: str) -> None:
    """Write a text file in UTF-8 by renaming a temporary one, and create missing parent folders.

    Raises:
        DataError: the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8", newline="")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"can't write '{path}': {error.strerror}") from error


@contextmanager
def write_folder_atomically(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `path` when the block ends without an error."""
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    yield temporary
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


def check_output_paths(*paths: Path) -> None:
    """Check, before a long computation, that its output files can be written and don't exist yet.

    Raises:
        DataError: a file exists (someone may have edited it), two paths are the same, or a folder can't be written.
    """
    for number, path in enumerate(paths):
        if path.exists():
            raise DataError(f"'{path}' exists: give another name, or remove it")
        if path.absolute() in [other.absolute() for other in paths[:number]]:
            raise DataError(f"two outputs have the path '{path}': give each its own")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise DataError(f"can't write '{path}': '{folder}' is a file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise DataError(f"can't write '{path}': no permission for '{folder}'")


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
