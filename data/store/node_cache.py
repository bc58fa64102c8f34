"""A node's own copies of a store's entries: each is copied once, however many processes of the node read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from data.errors import DataError
from data.store.backend import EntrySource
from data.store.entry_file import CorruptEntryError
from data.store.entry_folder import EntryFolder

_THREADS = 8


@dataclass(frozen=True, slots=True)
class NodeCache:
    """Copies of entries on a disk of this node."""

    source: EntrySource
    copies: EntryFolder

    def file(self, digest: str) -> Path:
        """Return the path of this node's copy of an entry; copy it if it is missing.

        Raises:
            DataError: the source lacks the entry, it is corrupt, or it can't be copied.
        """
        file = self.copies.file(digest)
        if not file.exists():
            self._fetch(digest)
        return file

    def fetch(self, digests: Iterable[str], *, progress: bool) -> int:
        """Copy the missing entries and return the bytes that this call copied.

        Raises:
            DataError: the source lacks an entry, it is corrupt, or it can't be copied.
        """
        missing = [digest for digest in dict.fromkeys(digests) if not self.copies.file(digest).exists()]
        copied = 0
        with ThreadPoolExecutor(_THREADS) as threads:
            sizes = list(threads.map(self._size, missing))
            with tqdm(total=sum(sizes), desc="fetch", unit="B", unit_scale=True, disable=not progress) as bar:
                for size, fetched in zip(sizes, threads.map(self._fetch, missing), strict=True):
                    copied += size if fetched else 0
                    bar.update(size)
        return copied

    def _size(self, digest: str) -> int:
        with self._readable_errors(digest):
            return self.source.size(digest)

    def _fetch(self, digest: str) -> bool:
        """Copy an entry; return False if another process has copied it in the meantime."""
        prefix, locks = digest[:2], self.copies.folder / "locks"
        with self._readable_errors(digest):
            locks.mkdir(parents=True, exist_ok=True)
            with FileLock(locks / prefix):
                if self.copies.file(digest).exists():
                    return False
                # A process that was killed while it held this lock can have left a temporary file.
                self.copies.remove_temporary_files(prefix)
                with self.source.open(digest) as source:
                    self.copies.copy_from(source, digest)
                return True

    @contextmanager
    def _readable_errors(self, digest: str) -> Iterator[None]:
        """Raise errors of the block as DataError."""
        where = self.source.address
        try:
            yield
        except FileNotFoundError:
            raise DataError(
                f"the frame store {where} has no frames for digest {digest}: build the store again"
            ) from None
        except CorruptEntryError as error:
            raise DataError(
                f"the frame store's entry {digest} in {where} is corrupt ({error}): remove it and build the store again"
            ) from None
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            raise DataError(
                f"the frame store's entry {digest} can't be copied from {where} to {self.copies.folder} ({reason}): "
                "free disk space there, set store.local to another disk, or check the connection to the store"
            ) from None
