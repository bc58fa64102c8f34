"""Entries as files in a folder."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.store.entry_file import CorruptEntryError, StoreEntry, read_entry_file, write_entry_file
from data.video.decode import ClipFacts

_COPY_BLOCK = 16 << 20
"""Bytes to read at a time; a bucket gets one request for each."""


@dataclass(frozen=True, slots=True)
class EntryFolder:
    """A storage backend: `ab/abcd….npy` for each entry, and `tmp/` for files that are being written."""

    folder: Path

    @property
    def address(self) -> str:
        """See `StorageBackend`."""
        return str(self.folder)

    def file(self, digest: str) -> Path:
        """Return the path of an entry, whether or not it exists."""
        return self.folder / digest[:2] / f"{digest}.npy"

    def check(self, digest: str, known: StoreEntry | None, *, verify: bool) -> StoreEntry:
        """See `StorageBackend`."""
        file = self.file(digest)
        if known is None or verify:
            return read_entry_file(file, digest, verify=verify)
        size = file.stat().st_size
        if size != known.bytes:
            raise CorruptEntryError(f"it has {size} bytes instead of {known.bytes}")
        return known

    def put(self, digest: str, frames: np.ndarray, facts: ClipFacts) -> StoreEntry:
        """See `StorageBackend`."""
        size = 0

        def write(stream: BinaryIO) -> None:
            nonlocal size
            size = write_entry_file(stream, digest, frames, facts)

        self._write_atomically(digest, write)
        return StoreEntry(facts, size)

    def copy_from(self, source: BinaryIO, digest: str) -> StoreEntry:
        """Store a copy of an entry, after verifying it.

        Args:
            source: the entry's bytes.
            digest: of the clip.

        Raises:
            CorruptEntryError: the entry is corrupt; no copy is stored.
            OSError: the disk is full or the folder can't be written.
        """
        entry: StoreEntry

        def write(stream: BinaryIO) -> None:
            nonlocal entry
            shutil.copyfileobj(source, stream, _COPY_BLOCK)
            stream.flush()
            entry = read_entry_file(Path(stream.name), digest, verify=True)

        self._write_atomically(digest, write)
        return entry

    def open(self, digest: str) -> BinaryIO:
        """See `StorageBackend`."""
        return self.file(digest).open("rb")

    def size(self, digest: str) -> int:
        """See `StorageBackend`."""
        return self.file(digest).stat().st_size

    def begin_build(self) -> None:
        """Remove the temporary files of killed builds."""
        self.remove_temporary_files()

    def end_build(self) -> None:
        """Remove the temporary files of processes that were killed during the build."""
        self.remove_temporary_files()

    def remove_temporary_files(self, prefix: str = "") -> None:
        """Remove unfinished entries; no process may be writing one.

        Args:
            prefix: only entries whose digest starts with it.
        """
        for file in (self.folder / "tmp").glob(f"{prefix}*"):
            file.unlink(missing_ok=True)

    def _write_atomically(self, digest: str, write: Callable[[BinaryIO], None]) -> None:
        """Write an entry to a temporary file, then rename it; remove the temporary file if that fails."""
        file = self.file(digest)
        temporary = self.folder / "tmp" / f"{digest}.{uuid.uuid4().hex}"
        for parent in (file.parent, temporary.parent):
            parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                write(stream)
            os.replace(temporary, file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
