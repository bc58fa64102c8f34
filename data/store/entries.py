"""One stored clip's file: an array that anybody can map, and behind it what tells whether it is whole.

The file is numpy's own `.npy` of `(F, H, W, 3)` uint8. Behind the array's bytes, where numpy does not look, stand a
JSON note (the clip's digest and facts), the note's length, the CRC-32 of all bytes before it, and a mark. So an entry
is one file that is put in place by one rename, and whatever else is lost, the entries alone say what they hold.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
import uuid
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.video.decode import ClipFacts

ENTRY_FORMAT = 1
"""Part of a store's key: raise it when the files are laid out otherwise."""

_TAIL = struct.Struct("<II8s")
_MARK = b"\nFRAMES\n"
_HEADER = 128
"""Bytes of numpy's header for any array of frames."""
_BLOCK = 1 << 20
_COPY_BLOCK = 16 << 20
"""A bucket is asked once for each."""


class CorruptEntryError(Exception):
    """A file that is not the entry that its name says; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a stored clip beside its frames."""

    facts: ClipFacts
    bytes: int
    """Size of its file."""


@dataclass(frozen=True, slots=True)
class EntryFolder:
    """Entries as files under one folder: `ab/abcd….npy`, and `tmp/` for what is being written."""

    folder: Path

    def file(self, digest: str) -> Path:
        """Where the entry of a digest lies."""
        return self.folder / digest[:2] / f"{digest}.npy"

    def check(self, digest: str, known: Entry | None, *, whole: bool) -> Entry:
        """See that an entry is there and undamaged.

        Args:
            digest: of the clip.
            known: what an index says of it; saves opening the file when not `whole`.
            whole: read all of it and compare its checksum; else its size alone tells.

        Raises:
            FileNotFoundError: there is none.
            CorruptEntryError: it is another's, cut short or altered.
        """
        file = self.file(digest)
        if known is None or whole:
            return _read_entry(file, digest, whole=whole)
        size = file.stat().st_size
        if size != known.bytes:
            raise CorruptEntryError(f"it has {size} bytes instead of {known.bytes}")
        return known

    def put(self, digest: str, frames: np.ndarray, facts: ClipFacts) -> Entry:
        """Store a clip; until all of it is written there is no entry.

        Raises:
            OSError: the disk is full or the folder can't be written.
        """
        size = 0

        def write(stream: BinaryIO) -> None:
            nonlocal size
            size = _write_entry(stream, digest, frames, facts)

        self._place(digest, write)
        return Entry(facts, size)

    def take(self, digest: str, source: BinaryIO) -> Entry:
        """Store a copy of an entry, if it is whole.

        Raises:
            CorruptEntryError: it is not.
            OSError: the disk is full or the folder can't be written.
        """
        entry: Entry

        def write(stream: BinaryIO) -> None:
            nonlocal entry
            shutil.copyfileobj(source, stream, _COPY_BLOCK)
            stream.flush()
            entry = _read_entry(Path(stream.name), digest, whole=True)

        self._place(digest, write)
        return entry

    @property
    def address(self) -> str:
        """For people."""
        return str(self.folder)

    def open(self, digest: str) -> BinaryIO:
        """An entry's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.file(digest).open("rb")

    def size(self, digest: str) -> int:
        """Bytes of an entry.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.file(digest).stat().st_size

    def begin_build(self) -> None:
        """Remove what builds that were killed had begun to write; nobody else may be writing now."""
        self.remove_parts("")

    def end_build(self) -> None:
        """Remove what processes that were ended had begun to write."""
        self.remove_parts("")

    def remove_parts(self, prefix: str) -> None:
        """Remove what was begun to be written for digests of this prefix; nobody may be writing such now."""
        for part in (self.folder / "tmp").glob(f"{prefix}*"):
            part.unlink(missing_ok=True)

    def _place(self, digest: str, write: Callable[[BinaryIO], None]) -> None:
        file = self.file(digest)
        aside = self.folder / "tmp" / f"{digest}.{uuid.uuid4().hex}"
        for parent in (file.parent, aside.parent):
            parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("xb") as stream:
                write(stream)
            os.replace(aside, file)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def map_frames(file: Path) -> np.ndarray:
    """An entry's frames, uint8 `(F, H, W, 3)`, mapped read-only.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptEntryError: it is cut short, or no entry.
    """
    with file.open("rb") as stream:
        shape = _shape(stream.read(_HEADER))
        try:
            return np.memmap(stream, np.uint8, "r", _HEADER, shape)
        except (ValueError, OverflowError) as error:
            raise CorruptEntryError(str(error)) from None


@lru_cache
def _shape(header: bytes) -> tuple[int, ...]:
    """Cached, since parsing takes longer than mapping and most clips of a store have the same shape."""
    stream = io.BytesIO(header)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise CorruptEntryError("it is no entry")
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
    except CorruptEntryError:
        raise
    except Exception as error:
        # numpy evaluates the header as Python text: damage to it raises whatever Python's parser raises.
        raise CorruptEntryError(" ".join(f"{type(error).__name__}: {error}".split())) from None
    if stream.tell() != _HEADER or by_column or dtype != np.uint8 or len(shape) != 4:
        raise CorruptEntryError(f"it holds {dtype} {shape}")
    return shape


def _write_entry(stream: BinaryIO, digest: str, frames: np.ndarray, facts: ClipFacts) -> int:
    """Returns the bytes written."""
    header = io.BytesIO()
    frames = np.ascontiguousarray(frames, np.uint8)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(frames))
    assert len(header.getvalue()) == _HEADER
    note = json.dumps({"digest": digest, "facts": asdict(facts)}).encode()
    checksum, size = 0, 0
    for part in (header.getvalue(), frames.data.cast("B"), note):
        checksum = zlib.crc32(part, checksum)
        size += stream.write(part)
    return size + stream.write(_TAIL.pack(len(note), checksum, _MARK))


def _read_entry(file: Path, digest: str, *, whole: bool) -> Entry:
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        array_end = _HEADER + math.prod(_shape(stream.read(_HEADER)))
        body = size - _TAIL.size
        if body < array_end:
            raise CorruptEntryError(f"it is cut short after {size} bytes")
        stream.seek(body)
        length, checksum, mark = _TAIL.unpack(stream.read(_TAIL.size))
        if mark != _MARK or array_end + length != body:
            raise CorruptEntryError("it does not end as an entry does")
        stream.seek(array_end)
        note = stream.read(length)
        if whole and _checksum(stream, body) != checksum:
            raise CorruptEntryError("its bytes are not those that were written")
    try:
        content = json.loads(note)
        owner, facts = content["digest"], ClipFacts(**content["facts"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptEntryError(f"its note can't be read ({error})") from None
    if owner != digest:
        raise CorruptEntryError(f"it is the entry of {owner}")
    return Entry(facts, size)


def _checksum(stream: BinaryIO, length: int) -> int:
    stream.seek(0)
    checksum = 0
    while length > 0 and (block := stream.read(min(_BLOCK, length))):
        checksum = zlib.crc32(block, checksum)
        length -= len(block)
    return checksum
