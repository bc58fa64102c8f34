"""What a builder remembers of video files and entries, so that it need not read them again: one SQLite file.

Only the one that holds the store's build lock opens it; training never does. It can be lost at any time: entries say
themselves what they hold, and files are hashed again. So it is kept without SQLite's write-ahead log and locks, which
network file systems lack or feign.
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

from data.store.entries import Entry
from data.video.decode import ClipFacts

INDEX = "index.sqlite"
"""The index's name in its store's folder."""

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

_TICK_NS = 100_000_000
"""Coarser than the steps in which file systems of servers count time."""


class CorruptIndexError(Exception):
    """The index can't be read: start a new one."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells that a file is as it was, without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    settled: bool
    """Whether a later change must show: false when the file was changed within a tick of being looked at."""

    @classmethod
    def of(cls, file: Path) -> FileState:
        """Look at a file; one that is read afterwards gives at least these bytes.

        Raises:
            OSError: there is no such file.
        """
        now, found = time.time_ns(), os.stat(file)
        settled = now - max(found.st_mtime_ns, found.st_ctime_ns) > _TICK_NS
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, settled)

    def same(self, other: FileState) -> bool:
        """Whether both are of the same state of a file."""
        return self.state == other.state

    @property
    def state(self) -> tuple[int, int, int, int]:
        """All that a change of the file would change."""
        return self.size, self.mtime_ns, self.ctime_ns, self.inode


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What is known of a file that is as it was when last read."""

    digest: str
    entry: Entry | None
    """What was stored of it; None if nothing was, or that was forgotten."""
    failure: tuple[str, str] | None
    """Defect and reason, if it could not be decoded."""


class StoreIndex:
    """The index while it is open; any call may raise `sqlite3.OperationalError` when the disk is full."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def lookup(self, file: Path, stamp: FileState, decoder: str) -> IndexRecord | None:
        """What is known of a file, if it is as it was when last read; failures count for the same decoder alone."""
        row = self._connection.execute(
            "SELECT digest, bytes, facts, decoder, defect, reason"
            " FROM files LEFT JOIN entries USING (digest) LEFT JOIN failures USING (digest)"
            " WHERE (path, size, mtime_ns, ctime_ns, inode) = (?, ?, ?, ?, ?)",
            (os.path.abspath(file), *stamp.state),
        ).fetchone()
        if row is None:
            return None
        digest, size, facts, failed_with, defect, reason = row
        return IndexRecord(
            digest,
            Entry(ClipFacts(**json.loads(facts)), size) if facts is not None else None,
            (defect, reason) if failed_with == decoder else None,
        )

    def record_file(self, file: Path, stamp: FileState, digest: str) -> None:
        """Remember a file's digest, if a change of the file would show."""
        if stamp.settled:
            self._connection.execute(
                "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", (os.path.abspath(file), *stamp.state, digest)
            )

    def record_entry(self, digest: str, entry: Entry) -> None:
        """Remember an entry that is in the store."""
        facts = json.dumps(asdict(entry.facts))
        self._connection.execute("REPLACE INTO entries VALUES (?, ?, ?)", (digest, entry.bytes, facts))

    def record_failure(self, digest: str, decoder: str, defect: str, reason: str) -> None:
        """Remember that these bytes can't be decoded."""
        self._connection.execute("REPLACE INTO failures VALUES (?, ?, ?, ?)", (digest, decoder, defect, reason))

    def commit(self) -> None:
        """Keep what was noted; otherwise it is kept when the index is closed without error."""
        self._connection.commit()


@contextmanager
def open_index(file: Path) -> Iterator[StoreIndex]:
    """The index in this file, made if it is not there.

    Raises:
        CorruptIndexError: at opening or at any time in the block, when it turns out that the file is damaged.
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
    """Remove a damaged index, and what it had begun to write, which would spoil a new one."""
    for name in (file.name, f"{file.name}-journal"):
        file.with_name(name).unlink(missing_ok=True)
