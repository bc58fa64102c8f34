"""Detect truncated files: the size that a container declares, compared with the file's size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_TRANSPORT_PACKET = 188
"""Bytes of a packet in an MPEG transport stream."""


def declared_size(path: Path, format_name: str) -> int:
    """Return the size in bytes that a container declares, or the file's own size if it declares none.

    Only structures of the format itself are used: boxes of MP4, RIFF and EBML lengths, the trailer of a GIF, whole
    packets of a transport stream. Durations in headers are too often wrong to tell that a file is truncated.

    Args:
        path: the video file.
        format_name: FFmpeg's name of the container format.
    """
    size = path.stat().st_size
    declared = None
    with path.open("rb") as file:
        header = file.read(4096)
        if "mp4" in format_name:
            declared = _end_of_boxes(file, size)
        elif format_name == "avi":
            declared = 8 + int.from_bytes(header[4:8], "little")
        elif "matroska" in format_name:
            declared = _end_of_segment(header)
        elif format_name == "gif":
            file.seek(-min(size, 64), os.SEEK_END)
            declared = None if file.read().rstrip(b"\0").endswith(b";") else size + 1
        elif format_name == "mpegts" and header[:1] == header[_TRANSPORT_PACKET : _TRANSPORT_PACKET + 1] == b"G":
            declared = -(-size // _TRANSPORT_PACKET) * _TRANSPORT_PACKET
    return max(size, declared or 0)


def _end_of_boxes(file: BinaryIO, size: int) -> int | None:
    """Return the offset at which the last MP4 box ends, or None if the boxes don't say."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not header[4:8].isalnum():
            return None  # A box that extends to the end of the file, or trailing bytes that are not a box.
        position += length
    return position


def _end_of_segment(header: bytes) -> int | None:
    """Return the offset at which the Matroska segment ends, or None if its length is unknown."""
    start = header.find(b"\x18\x53\x80\x67") + 4
    if start < 4 or start + 8 > len(header) or header[start] == 0:
        return None
    width = 9 - header[start].bit_length()
    unknown = (1 << 7 * width) - 1
    length = int.from_bytes(header[start : start + width], "big") & unknown
    return None if length == unknown else start + width + length
