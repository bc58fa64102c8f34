"""The file format of a stored clip: an array of frames that NumPy can map, followed by metadata and a checksum.

The file is a `.npy` of uint8 `(F, H, W, 3)`. NumPy ignores what follows the array: JSON metadata (the clip's digest and
facts), its length, the CRC-32 of all bytes before, and a marker. An entry is thus a single file, which one rename
puts in place, and the index of a store can be rebuilt from its entries alone.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.video.decode import ClipFacts

ENTRY_FORMAT = 1
"""Part of a store's key: increase it when the file format changes."""

_TRAILER = struct.Struct("<II8s")
"""Length of the metadata, CRC-32 of all bytes before, marker."""
_MARKER = b"\nFRAMES\n"
_HEADER_SIZE = 128
"""Bytes of the `.npy` header for any array of frames."""
_BLOCK = 1 << 20


class CorruptEntryError(Exception):
    """A file is not the entry that its name says; the message says why."""


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """Metadata of a stored clip."""

    facts: ClipFacts
    bytes: int
    """Size of its file."""


def map_frames(file: Path) -> np.ndarray:
    """Return an entry's frames, uint8 `(F, H, W, 3)`, memory-mapped read-only.

    Raises:
        FileNotFoundError: the file does not exist.
        CorruptEntryError: it is truncated or not an entry.
    """
    with file.open("rb") as stream:
        shape = _frames_shape(stream.read(_HEADER_SIZE))
        try:
            return np.memmap(stream, np.uint8, "r", _HEADER_SIZE, shape)
        except (ValueError, OverflowError) as error:
            raise CorruptEntryError(str(error)) from None


@lru_cache
def _frames_shape(header: bytes) -> tuple[int, ...]:
    """Return the shape of the frames, from the `.npy` header.

    Cached, since parsing takes longer than mapping and most clips of a store have the same shape.
    """
    stream = io.BytesIO(header)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise CorruptEntryError("it is not an entry")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except CorruptEntryError:
        raise
    except Exception as error:
        # NumPy evaluates the header as a Python literal, so a corrupt one raises whatever Python's parser raises.
        raise CorruptEntryError(" ".join(f"{type(error).__name__}: {error}".split())) from None
    if stream.tell() != _HEADER_SIZE or fortran_order or dtype != np.uint8 or len(shape) != 4:
        raise CorruptEntryError(f"it holds {dtype} {shape}")
    return shape


def write_entry_file(stream: BinaryIO, digest: str, frames: np.ndarray, facts: ClipFacts) -> int:
    """Write an entry and return its size in bytes.

    Args:
        stream: opened for writing.
        digest: of the clip.
        frames: uint8 `(F, H, W, 3)`.
        facts: of the clip.
    """
    header = io.BytesIO()
    frames = np.ascontiguousarray(frames, np.uint8)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(frames))
    assert len(header.getvalue()) == _HEADER_SIZE
    metadata = json.dumps({"digest": digest, "facts": asdict(facts)}).encode()
    checksum, size = 0, 0
    for part in (header.getvalue(), frames.data.cast("B"), metadata):
        checksum = zlib.crc32(part, checksum)
        size += stream.write(part)
    return size + stream.write(_TRAILER.pack(len(metadata), checksum, _MARKER))


def read_entry_file(file: Path, digest: str, *, verify: bool) -> StoreEntry:
    """Read an entry's metadata.

    Args:
        file: the entry.
        digest: of the clip that it should hold.
        verify: read the frames too and compare the checksum; otherwise only the size and the trailer are checked.

    Raises:
        FileNotFoundError: the file does not exist.
        CorruptEntryError: it is truncated, altered, or the entry of another clip.
    """
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        frames_end = _HEADER_SIZE + math.prod(_frames_shape(stream.read(_HEADER_SIZE)))
        metadata_end = size - _TRAILER.size
        if metadata_end < frames_end:
            raise CorruptEntryError(f"it is truncated to {size} bytes")
        stream.seek(metadata_end)
        length, checksum, marker = _TRAILER.unpack(stream.read(_TRAILER.size))
        if marker != _MARKER or frames_end + length != metadata_end:
            raise CorruptEntryError("its trailer is not that of an entry")
        stream.seek(frames_end)
        metadata = stream.read(length)
        if verify and _checksum(stream, metadata_end) != checksum:
            raise CorruptEntryError("its checksum is wrong")
    try:
        content = json.loads(metadata)
        owner, facts = content["digest"], ClipFacts(**content["facts"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptEntryError(f"its metadata can't be read ({error})") from None
    if owner != digest:
        raise CorruptEntryError(f"it is the entry of {owner}")
    return StoreEntry(facts, size)


def _checksum(stream: BinaryIO, length: int) -> int:
    """Return the CRC-32 of the first `length` bytes."""
    stream.seek(0)
    checksum = 0
    while length > 0 and (block := stream.read(min(_BLOCK, length))):
        checksum = zlib.crc32(block, checksum)
        length -= len(block)
    return checksum
