"""The index of a store: digests of video files, metadata of entries and failures, in one SQLite file.

It lets a build skip files that have not changed. Only the process that holds the store's build lock opens it; training
never does. It may be lost at any time: entries describe themselves, and files are hashed again. Therefore it does
without SQLite's write-ahead log and locks, which many network file systems do not support correctly.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from data.store.entry_file import StoreEntry
from data.video.decode import ClipFacts

INDEX = "index.sqlite"
"""Name of the index in the store's folder."""

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE entries (digest TEXT PRIMARY KEY, bytes INTEGER NOT NULL, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE failures (
    digest TEXT PRIMARY KEY, decoder TEXT NOT NULL, defect TEXT NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
"""

_CLOCK_STEP_NS = 100_000_000
"""Longer than the resolution of time stamps on usual file systems, also on file servers."""


class CorruptIndexError(Exception):
    """The index can't be read and has to be replaced by a new one."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file's size, times and inode, which show whether it has changed without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    settled: bool
    """Whether a later change would change the times: false within one clock step after the last change."""

    @classmethod
    def of(cls, file: Path) -> FileState:
        """Return the current state of a file; read the file only afterwards, so that later changes are noticed.

        Raises:
            OSError: the file does not exist.
        """
        now, stat = time.time_ns(), os.stat(file)
        settled = now - max(stat.st_mtime_ns, stat.st_ctime_ns) > _CLOCK_STEP_NS
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, settled)

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """All values that a change of the file would change."""
        return self.size, self.mtime_ns, self.ctime_ns, self.inode

    def unchanged(self, other: FileState) -> bool:
        """Return whether the file was not changed between two states."""
        return self.identity == other.identity


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """The record of a file that has not changed since it was hashed."""

    digest: str
    entry: StoreEntry | None
    """The stored clip; None if it was not stored, or the index has lost it."""
    failure: tuple[str, str] | None
    """Defect and reason, if it could not be decoded."""


class StoreIndex:
    """An open index; every method can raise `sqlite3.OperationalError` if the disk is full."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def lookup(self, file: Path, state: FileState, decoder: str) -> IndexRecord | None:
        """Return the record of a file; None if there is none or the file has changed.

        Args:
            file: a video file.
            state: its current state.
            decoder: version of the decoder; failures of other versions are ignored.
        """
        row = self._connection.execute(
            "SELECT digest, bytes, facts, decoder, defect, reason"
            " FROM files LEFT JOIN entries USING (digest) LEFT JOIN failures USING (digest)"
            " WHERE (path, size, mtime_ns, ctime_ns, inode) = (?, ?, ?, ?, ?)",
            (os.path.abspath(file), *state.identity),
        ).fetchone()
        if row is None:
            return None
        digest, size, facts, failed_decoder, defect, reason = row
        return IndexRecord(
            digest,
            StoreEntry(ClipFacts(**json.loads(facts)), size) if facts is not None else None,
            (defect, reason) if failed_decoder == decoder else None,
        )

    def digest(self, file: Path) -> str | None:
        """Return the digest of a file when it was last hashed, whether or not it exists now; None if it never was."""
        row = self._connection.execute("SELECT digest FROM files WHERE path = ?", (os.path.abspath(file),)).fetchone()
        return None if row is None else str(row[0])

    def record_file(self, file: Path, state: FileState, digest: str) -> None:
        """Record a file's digest, unless a change could go unnoticed since the state is not settled."""
        if state.settled:
            self._connection.execute(
                "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", (os.path.abspath(file), *state.identity, digest)
            )

    def record_entry(self, digest: str, entry: StoreEntry) -> None:
        """Record an entry that is in the store."""
        facts = json.dumps(asdict(entry.facts))
        self._connection.execute("REPLACE INTO entries VALUES (?, ?, ?)", (digest, entry.bytes, facts))

    def record_failure(self, digest: str, decoder: str, defect: str, reason: str) -> None:
        """Record that a file's bytes can't be decoded by this version of the decoder."""
        self._connection.execute("REPLACE INTO failures VALUES (?, ?, ?, ?)", (digest, decoder, defect, reason))

    def commit(self) -> None:
        """Write what was recorded to disk; closing the index without an error does so too."""
        self._connection.commit()


@contextmanager
def open_index(file: Path) -> Iterator[StoreIndex]:
    """Open the index in this file; create it if it does not exist.

    Raises:
        CorruptIndexError: on entry or within the block, when the file turns out to be corrupt.
    """
    connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?nolock=1", uri=True)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise CorruptIndexError(f"it has version {version}")
        yield StoreIndex(connection)
        connection.commit()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CorruptIndexError(str(error)) from error
        raise
    finally:
        connection.close()


def remove_index(file: Path) -> None:
    """Remove an index and its journal, which would corrupt a new one."""
    for name in (file.name, f"{file.name}-journal"):
        file.with_name(name).unlink(missing_ok=True)
