"""How a video file is opened: as a local file and nothing else, its video stream chosen, what of it is missing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import av.logging
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

_OPTIONS = {
    # A playlist under a video's name must not fetch what it lists.
    "protocol_whitelist": "file",
    # A broken header may claim pictures of gigabytes; 8K video has half of this.
    "max_pixels": str(2**26),
}
_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
_TRANSPORT_PACKET = 188


def open_container(path: Path) -> InputContainer:
    """Open a file for demuxing.

    Raises:
        av.error.FFmpegError: FFmpeg knows no format that it could be.
    """
    # Without the prefix `12:30.mp4` is read as a protocol's name; tags in another encoding are no reason to fail.
    return av.open(f"file:{path}", mode="r", options=_OPTIONS, metadata_errors="replace")


def choose_video_stream(container: InputContainer) -> VideoStream | None:
    """The stream that a player shows, ready to decode on one thread; all others are left out of demuxing.

    Cover art is no video. Of several streams the one marked default, then the largest.
    """
    videos = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not Disposition(stream.disposition) & _NO_VIDEO
    ]
    if not videos:
        return None
    chosen = max(videos, key=lambda s: (Disposition.default in Disposition(s.disposition), s.width * s.height))
    for stream in container.streams:
        stream.discard = Discard.default if stream.index == chosen.index else Discard.all
    # One thread a clip: clips are decoded side by side, and FFmpeg's own threads would fight over the cores.
    chosen.codec_context.thread_count = 1
    return chosen


def declared_size(path: Path, format_name: str) -> int:
    """Bytes that the file should have as its container says; its own size where that says nothing.

    Only lengths and marks that the format itself keeps count: boxes of MP4, RIFF and EBML lengths, a GIF's trailer,
    whole packets of a transport stream. Durations in headers are wrong too often to convict a file.
    """
    size = path.stat().st_size
    declared = None
    with path.open("rb") as file:
        head = file.read(4096)
        if "mp4" in format_name:
            declared = _end_of_boxes(file, size)
        elif format_name == "avi":
            declared = 8 + int.from_bytes(head[4:8], "little")
        elif "matroska" in format_name:
            declared = _end_of_segment(head)
        elif format_name == "gif":
            file.seek(-min(size, 64), os.SEEK_END)
            declared = None if file.read().rstrip(b"\0").endswith(b";") else size + 1
        elif format_name == "mpegts" and head[:1] == head[_TRANSPORT_PACKET : _TRANSPORT_PACKET + 1] == b"G":
            declared = -(-size // _TRANSPORT_PACKET) * _TRANSPORT_PACKET
    return max(size, declared or 0)


def _end_of_boxes(file: BinaryIO, size: int) -> int | None:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not head[4:8].isalnum():
            return None  # A box that runs to the end of the file, or trailing bytes that are no box.
        position += length
    return position


def _end_of_segment(head: bytes) -> int | None:
    """Where the Matroska segment ends; None where the writer did not know."""
    start = head.find(b"\x18\x53\x80\x67") + 4
    if start < 4 or start + 8 > len(head) or head[start] == 0:
        return None
    width = 9 - head[start].bit_length()
    longest = (1 << 7 * width) - 1
    length = int.from_bytes(head[start : start + width], "big") & longest
    return None if length == longest else start + width + length


@contextmanager
def container_errors(container: InputContainer) -> Iterator[list[str]]:
    """What a demuxer finds broken while it is read, once each.

    Demuxers skip what they can't make sense of and tell nobody but FFmpeg's log.
    """
    errors: list[str] = []
    with _logging_errors(), av.logging.Capture() as logs:
        yield errors
    told = (message.strip() for _, name, message in logs if name == container.format.name)
    errors.extend(dict.fromkeys(told))


_lock = threading.Lock()
_listeners = 0
_level_before: tuple[int | None, bool] = None, True


@contextmanager
def _logging_errors() -> Iterator[None]:
    """FFmpeg's log is one for all threads: the last that listens puts it back as it was."""
    global _listeners, _level_before
    with _lock:
        if _listeners == 0:
            _level_before = av.logging.get_level(), av.logging.get_skip_repeated()
            av.logging.set_level(av.logging.ERROR)
            av.logging.set_skip_repeated(False)
        _listeners += 1
    try:
        yield
    finally:
        with _lock:
            _listeners -= 1
            if _listeners == 0:
                av.logging.set_level(_level_before[0])
                av.logging.set_skip_repeated(_level_before[1])
