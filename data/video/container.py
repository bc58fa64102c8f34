"""Open video files with FFmpeg: local files only, one video stream, one decoding thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.error
import av.logging
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from data.errors import DataError

_OPTIONS = {
    # Otherwise a playlist with a video's file name would download what it lists.
    "protocol_whitelist": "file",
    # A corrupt header can claim frames of several gigabytes. An 8K frame has half as many pixels.
    "max_pixels": str(2**26),
}
_NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails


class UnusableClipError(DataError):
    """A file that yields no frames, or too few to represent the clip; the message does not name the file."""

    def __init__(self, defect: str, reason: str) -> None:
        super().__init__(reason)
        self.defect = defect
        """Name of the defect: `unreadable`, `no video stream` or `truncated`."""


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file and yield its container and the stream to decode.

    Raises:
        UnusableClipError: the file is empty, not a video, or has no video stream; or FFmpeg fails within the block.
        OSError: the file can't be opened.
    """
    with path.open("rb") as file:
        if not file.read(1):
            raise UnusableClipError("unreadable", "the file is empty")
    try:
        with open_container(path) as container:
            stream = choose_video_stream(container)
            if stream is None:
                raise UnusableClipError("no video stream", "it has no video stream")
            yield container, stream
    except av.error.FFmpegError as error:
        raise UnusableClipError("unreadable", f"FFmpeg can't read it: {error.strerror or error}") from error


def open_container(path: Path) -> InputContainer:
    """Open a file for demuxing.

    Raises:
        av.error.FFmpegError: FFmpeg does not recognize the format.
    """
    # Without the prefix FFmpeg takes `12:30.mp4` for a URL. Metadata in another encoding must not fail.
    return av.open(f"file:{path}", mode="r", options=_OPTIONS, metadata_errors="replace")


def choose_video_stream(container: InputContainer) -> VideoStream | None:
    """Return the video stream that a player would show, or None; exclude all other streams from demuxing.

    Cover art does not count. Of several streams, prefer the one marked as default, then the largest.
    """
    videos = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not Disposition(stream.disposition) & _NOT_VIDEO
    ]
    if not videos:
        return None
    chosen = max(videos, key=lambda s: (Disposition.default in Disposition(s.disposition), s.width * s.height))
    for stream in container.streams:
        stream.discard = Discard.default if stream.index == chosen.index else Discard.all
    # Clips are decoded in parallel processes, so FFmpeg's own threads would only compete for the same cores.
    chosen.codec_context.thread_count = 1
    return chosen


@contextmanager
def demuxer_errors(container: InputContainer) -> Iterator[list[str]]:
    """Yield a list that, after the block, holds the demuxer's error messages without duplicates.

    Demuxers skip data that they can't parse and report it only in FFmpeg's log.
    """
    errors: list[str] = []
    with _error_logging(), av.logging.Capture() as logs:
        yield errors
    messages = (message.strip() for _, name, message in logs if name == container.format.name)
    errors.extend(dict.fromkeys(messages))


# While one thread is in `_error_logging`, FFmpeg logs the errors of all threads. Those that no thread captures are also
# raised as exceptions: Python must not print them a second time.
logging.getLogger("libav").addHandler(logging.NullHandler())

_lock = threading.Lock()
_active_blocks = 0
_saved_settings: tuple[int | None, bool] = None, True


@contextmanager
def _error_logging() -> Iterator[None]:
    """Log FFmpeg's errors within the block; the log settings are global, so the last thread to leave restores them."""
    global _active_blocks, _saved_settings
    with _lock:
        if _active_blocks == 0:
            _saved_settings = av.logging.get_level(), av.logging.get_skip_repeated()
            av.logging.set_level(av.logging.ERROR)
            av.logging.set_skip_repeated(False)
        _active_blocks += 1
    try:
        yield
    finally:
        with _lock:
            _active_blocks -= 1
            if _active_blocks == 0:
                av.logging.set_level(_saved_settings[0])
                av.logging.set_skip_repeated(_saved_settings[1])
