"""Read a long video as sliding windows, decoding it once from start to end in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.video.container import UnusableClipError, open_video
from data.video.frame_collector import FrameCollector
from data.video.frame_converter import FrameConverter, stack_frames
from data.video.packet_reader import PacketReader
from data.video.scan import scan_video
from data.video.timeline import Timeline

_MAX_THREADS = 8
"""Decoding threads: each holds some frames of full size."""

_MAX_ERRORS = 3
"""Errors to report; a corrupt file can cause many."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a video."""

    start: float
    """Seconds from the first frame."""
    end: float
    """Seconds from the first frame."""
    frames: np.ndarray
    """uint8 RGB `(T, H, W, 3)`: the frames on screen at the requested positions."""


def video_duration(path: Path) -> float:
    """Return the duration of a video in seconds, from the time stamps of its packets; decode nothing.

    Raises:
        UnusableClipError: the file is not a video.
        OSError: the file can't be opened.
    """
    return _scan(path)[0].seconds


class SlidingWindows:
    """Iterates over the windows of a video file: one starts every `hop` seconds, the last one ends with the video.

    A video that is shorter than a window is one window.
    """

    def __init__(self, path: Path, *, seconds: float, hop: float, positions: np.ndarray, short_side: int) -> None:
        """Scan a video's packets; decoding starts with the iteration.

        Args:
            path: the video file.
            seconds: length of a window.
            hop: seconds from one window's start to the next.
            positions: float `(T,)` in `[0, 1)`, ascending: which frames of a window to return.
            short_side: maximum short side of a frame in pixels.

        Raises:
            DataError: `seconds` or `hop` is not positive, or `hop` is longer than a window or shorter than a frame.
            UnusableClipError: the file is not a video.
            OSError: the file can't be opened.
        """
        if not 0 < hop <= seconds:
            raise DataError(
                f"can't read windows of {seconds:g} s with a hop of {hop:g} s: both must be above 0, and the hop at "
                "most as long as the window"
            )
        self._path, self._positions, self._short_side = path, positions, short_side
        self._timeline, self._read_errors = _scan(path)
        self.duration = self._timeline.seconds
        """Seconds from the first frame to the end of the last."""
        self.frames = self._timeline.num_displayed
        """Number of frames that the video displays."""
        self.sought = False
        """Always false: the video is decoded from its first to its last window."""
        self.seconds = min(seconds, self.duration)
        """Length of a window."""
        if hop < self.duration / max(1, self.frames):
            raise DataError(f"can't read windows with a hop of {hop:g} s, which is shorter than a frame; raise the hop")
        count = int(np.ceil((self.duration - self.seconds) / hop - 1e-6)) + 1
        self.starts = np.minimum(np.arange(count) * hop, self.duration - self.seconds)
        """float64 `(N,)`: seconds from the first frame."""
        self.damage = ""
        """What of the video did not decode, known after the iteration; empty if all of it did."""

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Window]:
        """Decode the video.

        Raises:
            UnusableClipError: none of its frames decodes.
        """
        pts_of_windows = self._requested_pts()
        requested: list[int] = np.unique(pts_of_windows).tolist()
        decoded = zip(requested, self._decode(requested), strict=True)
        held: dict[int, np.ndarray] = {}
        shape: tuple[int, ...] | None = None
        for start, row in zip(self.starts.tolist(), pts_of_windows.tolist(), strict=True):
            held = {pts: frame for pts, frame in held.items() if pts >= row[0]}
            while row[-1] not in held:
                pts, frame = next(decoded)
                shape = shape or frame.shape
                if pts >= row[0]:
                    held[pts] = frame
            yield Window(start, start + self.seconds, stack_frames([held[pts] for pts in row], shape))
        for _ in decoded:
            """No frame is left, but the damage is known only when the generator ends."""

    def _requested_pts(self) -> np.ndarray:
        """Return the pts of the frames of each window, int64 `(N, T)`."""
        timeline = self._timeline
        seconds = self.starts[:, None] + self._positions * self.seconds
        return timeline.displayed_at(int(timeline.displayed[0]) + seconds / float(timeline.time_base))

    def _decode(self, requested: list[int]) -> Iterator[np.ndarray]:
        """Yield the frame for each requested pts, then record the damage."""
        with open_video(self._path) as (container, stream):
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
            converter = FrameConverter(self._short_side, stream.sample_aspect_ratio)
            collector = FrameCollector(requested, converter, self._timeline, skip_unneeded=False, seeking=False)
            reader = PacketReader(container, stream)
            yield from collector.iter_frames(stream.codec_context, (packet for packet, _, _ in reader))
        errors = list(dict.fromkeys([*collector.errors, *reader.errors, *self._read_errors]))[:_MAX_ERRORS]
        if collector.first_frame is None:
            raise UnusableClipError("unreadable", ": ".join(["none of its frames decodes", *errors]))
        missing = len(requested) - collector.num_exact
        if missing or errors:
            why = ", ".join(errors) or "it is cut short"
            self.damage = f"{missing} of {len(requested)} sampled frames don't decode ({why})"


def _scan(path: Path) -> tuple[Timeline, tuple[str, ...]]:
    """Return a video's timeline and its read errors."""
    with open_video(path) as (container, stream):
        video = scan_video(path, container, stream)
    return video.timeline, video.all_errors
