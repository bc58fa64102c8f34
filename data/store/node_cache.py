"""A node's own copies of a store's entries: each fetched once, whole, however many processes of the node read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from filelock import FileLock
from tqdm import tqdm

from data.errors import DataError
from data.store.entries import CorruptEntryError, EntryFolder

_THREADS = 8


class Origin(Protocol):
    """Where entries come from; can be pickled."""

    @property
    def address(self) -> str:
        """For people."""

    def open(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """An entry's bytes; raises FileNotFoundError if there is none."""

    def size(self, digest: str) -> int:
        """Bytes of an entry; raises FileNotFoundError if there is none."""


@dataclass(frozen=True, slots=True)
class NodeCache:
    """Copies of entries on a disk of this node."""

    origin: Origin
    entries: EntryFolder

    def file(self, digest: str) -> Path:
        """This node's copy of an entry, fetched if it is not there.

        Raises:
            DataError: the origin has no such entry or a damaged one, or it can't be copied.
        """
        file = self.entries.file(digest)
        if not file.exists():
            self._fetch(digest)
        return file

    def fetch(self, digests: Iterable[str], *, progress: bool) -> int:
        """Copy all of these that are not there; returns the bytes that this call copied. Raises as `file` does."""
        missing = [digest for digest in dict.fromkeys(digests) if not self.entries.file(digest).exists()]
        copied = 0
        with ThreadPoolExecutor(_THREADS) as threads:
            sizes = list(threads.map(self._size, missing))
            with tqdm(total=sum(sizes), desc="fetch", unit="B", unit_scale=True, disable=not progress) as bar:
                for size, fetched in zip(sizes, threads.map(self._fetch, missing), strict=True):
                    copied += size if fetched else 0
                    bar.update(size)
        return copied

    def _size(self, digest: str) -> int:
        with self._named_errors(digest):
            return self.origin.size(digest)

    def _fetch(self, digest: str) -> bool:
        """Whether it was this process that copied the entry."""
        group, locks = digest[:2], self.entries.folder / "locks"
        with self._named_errors(digest):
            locks.mkdir(parents=True, exist_ok=True)
            with FileLock(locks / group):
                if self.entries.file(digest).exists():
                    return False
                # Whoever held this lock before and was killed may have left a part.
                self.entries.remove_parts(group)
                with self.origin.open(digest) as source:
                    self.entries.take(digest, source)
                return True

    @contextmanager
    def _named_errors(self, digest: str) -> Iterator[None]:
        where = self.origin.address
        try:
            yield
        except FileNotFoundError:
            raise DataError(f"the frame store {where} has no frames for digest {digest}: build it again") from None
        except CorruptEntryError as error:
            raise DataError(
                f"the frame store's entry {digest} in {where} is damaged ({error}): remove it and build the store again"
            ) from None
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            raise DataError(
                f"the frame store's entry {digest} can't be copied from {where} to {self.entries.folder} ({reason}): "
                "make room there, set store.local to another disk, or mend the way to the store"
            ) from None
