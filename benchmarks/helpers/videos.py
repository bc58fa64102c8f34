"""Encoding of generated frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, cycle
from pathlib import Path

import av
import numpy as np


def encode_video(
    file: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: int,
    options: dict[str, str] | None = None,
    container: str | None = None,
    threads: int = 0,
) -> None:
    """Write frames as H.264.

    Args:
        file: is overwritten; its folder must exist.
        frames: at least one; uint8 `(H, W, 3)` RGB, H and W even.
        fps: frames per second.
        options: of x264; default: x264's own.
        container: FFmpeg's name of the format; default: by the file's suffix.
        threads: of the encoder; 0 for one per core.
    """
    frames = iter(frames)
    first = next(frames)
    with av.open(str(file), "w", format=container) as output:
        stream = output.add_stream("libx264", rate=Fraction(fps), options=options or {})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = threads
        for frame in chain([first], frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        output.mux(stream.encode(None))


def resized(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return an RGB frame in another size, by bicubic interpolation."""
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
    return picture.reformat(width=width, height=height, interpolation="BICUBIC").to_ndarray()


def sensor_noise(rng: np.random.Generator, height: int, width: int) -> Iterator[np.ndarray]:
    """Return an endless iterator over five arrays of noise below 6, uint8 `(H, W, 1)`, to be added to frames."""
    return cycle([rng.integers(0, 6, (height, width, 1), dtype=np.uint8) for _ in range(5)])
