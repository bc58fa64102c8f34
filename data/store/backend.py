"""The interface of the storage that holds a frame store's entries: a folder or a bucket."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

import numpy as np

from data.store.entry_file import StoreEntry
from data.video.decode import ClipFacts


class EntrySource(Protocol):
    """Storage from which entries can be copied; can be pickled."""

    @property
    def address(self) -> str:
        """Where the entries are stored, for messages."""

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """Open an entry for reading; raises FileNotFoundError if it does not exist."""

    def size(self, digest: str) -> int:
        """Return an entry's size in bytes; raises FileNotFoundError if it does not exist."""


class StorageBackend(EntrySource, Protocol):
    """Storage in which a store can be built; can be pickled."""

    def check(self, digest: str, known: StoreEntry | None, *, verify: bool) -> StoreEntry:
        """Check that an entry exists and is not corrupt, and return its metadata.

        Args:
            digest: of the clip.
            known: the entry according to the index, to compare its size without opening it; None if unknown.
            verify: compare the checksum too.

        Raises:
            FileNotFoundError: the entry does not exist.
            CorruptEntryError: it is truncated, altered, or the entry of another clip.
        """

    def put(self, digest: str, frames: np.ndarray, facts: ClipFacts) -> StoreEntry:
        """Store a clip; its entry appears only once it is complete.

        Args:
            digest: of the clip.
            frames: uint8 `(F, H, W, 3)`.
            facts: of the clip.

        Raises:
            OSError: the storage is full or can't be written.
        """

    def begin_build(self) -> None:
        """Prepare a build; no other process builds from now on."""

    def end_build(self) -> None:
        """Clean up after a build, successful or not."""
