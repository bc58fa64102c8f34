"""Write files atomically, hash files, say why a path is not a file."""

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


def not_a_file(path: Path, remedy: str) -> str:
    """Return why a path is not a regular file, and the remedy if something else is there."""
    if path.is_dir():
        return f"it is a folder; {remedy}"
    if path.exists():
        return f"it is a pipe or a device; {remedy}"
    return "it is a link to a file that does not exist" if path.is_symlink() else "no such file"


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
