"""A long video as windows over time, decoded once from its first picture to its last, in memory that does not grow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.video.container import container_errors
from data.video.decode import UnusableClipError, opened, stacked
from data.video.frame_converter import Developer
from data.video.reach import Sampling
from data.video.timeline import PacketReader, Timeline, read_timeline

_MOST_THREADS = 8
"""To decode on: each holds some frames of full size."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a video."""

    start: float
    """Seconds from the first picture."""
    end: float
    frames: np.ndarray
    """uint8 RGB `(T, H, W, 3)`, the pictures on screen at the places asked for."""


def video_duration(path: Path) -> float:
    """How long a video is, by the times of its packets; nothing is decoded.

    Raises:
        UnusableClipError: it is no video.
        OSError: it can't be opened.
    """
    return _read(path)[0].seconds


class SlidingWindows:
    """The windows of one video file, in order: each `hop` seconds a new one starts, the last ends with the video.

    A video that is shorter than a window is one window.
    """

    def __init__(self, path: Path, *, seconds: float, hop: float, places: np.ndarray, short_side: int) -> None:
        """Look at a video's packets; decoding waits for the iteration.

        Args:
            path: the video file.
            seconds: length of a window.
            hop: from one window's start to the next's.
            places: float `(T,)` within `[0, 1)`, in order: which pictures of a window are wanted.
            short_side: of a picture in pixels.

        Raises:
            DataError: the length or the hop is not above 0, or the hop is longer than a window.
            UnusableClipError: it is no video.
            OSError: it can't be opened.
        """
        if not 0 < hop <= seconds:
            raise DataError(
                f"a window of {seconds:g} s each {hop:g} s: give times above 0, and no hop beyond the window"
            )
        self._path, self._places, self._short_side = path, places, short_side
        self._timeline, self._losses = _read(path)
        self.duration = self._timeline.seconds
        """Seconds from the first picture to the end of the last."""
        self.seconds = min(seconds, self.duration)
        """Length of a window."""
        count = int(np.ceil((self.duration - self.seconds) / hop - 1e-6)) + 1
        self.starts = np.minimum(np.arange(count) * hop, self.duration - self.seconds)
        """float64 `(N,)`: seconds from the first picture."""
        self.damage = ""
        """Once iterated over: what of the video does not decode; empty if all does."""

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Window]:
        """Decode the video.

        Raises:
            UnusableClipError: none of its frames decodes.
        """
        stamps = self._stamps()
        wanted = np.unique(stamps)
        held: dict[int, np.ndarray] = {}
        pictures = zip(wanted.tolist(), self._pictures(wanted.tolist()), strict=True)
        shape: tuple[int, ...] | None = None
        for start, row in zip(self.starts.tolist(), stamps.tolist(), strict=True):
            held = {stamp: picture for stamp, picture in held.items() if stamp >= row[0]}
            while row[-1] not in held:
                stamp, picture = next(pictures)
                shape = shape or picture.shape
                if stamp >= row[0]:
                    held[stamp] = picture
            yield Window(start, start + self.seconds, stacked([held[stamp] for stamp in row], shape))
        for _ in pictures:
            """Nothing is left, but what of the video was broken is known only now."""

    def _stamps(self) -> np.ndarray:
        """When the wanted pictures of each window are first shown, int64 ticks `(N, T)`."""
        timeline = self._timeline
        seconds = self.starts[:, None] + self._places * self.seconds
        instants = int(timeline.shown[0]) + seconds / float(timeline.time_base)
        return timeline.shown[np.maximum(np.searchsorted(timeline.shown, instants, side="right") - 1, 0)]

    def _pictures(self, wanted: list[int]) -> Iterator[np.ndarray]:
        with opened(self._path) as (container, stream):
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = min(_MOST_THREADS, os.cpu_count() or 1)
            develop = Developer(self._short_side, stream.sample_aspect_ratio)
            sampling = Sampling(wanted, develop, self._timeline, quick=False, sought=False)
            reader = PacketReader(container, stream)
            yield from sampling.stream(stream.codec_context, (packet for packet, _, _ in reader))
        troubles = list(dict.fromkeys([*sampling.troubles, *reader.losses, *self._losses]))
        if sampling.first is None:
            raise UnusableClipError("unreadable", ": ".join(["none of its frames decodes", *troubles[:3]]))
        if sampling.found < len(wanted) or troubles:
            missing, why = len(wanted) - sampling.found, ", ".join(troubles[:3]) or "it is cut short"
            self.damage = f"{missing} of {len(wanted)} sampled frames don't decode ({why})"


def _read(path: Path) -> tuple[Timeline, list[str]]:
    """The times of a video's packets, and what of the file is broken."""
    with opened(path) as (container, stream), container_errors(container) as errors:
        reader = PacketReader(container, stream)
        timeline, _ = read_timeline(reader)
    if timeline is None:
        raise UnusableClipError("unreadable", ": ".join(["it has no video packets", *reader.losses]))
    return timeline, [*reader.losses, *errors]
