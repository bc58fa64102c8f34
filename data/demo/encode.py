"""Encoding of frames into a video file, the same frames always into the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CONTAINERS = {".mp4": "mp4", ".MOV": "mov", ".mkv": "matroska"}
"""FFmpeg's name of the container for each file suffix."""


@dataclass(frozen=True)
class Take:
    """Frames to be encoded, and how."""

    frames: Iterator[np.ndarray]
    """uint8 `(H, W, 3)` each."""
    size: tuple[int, int]
    """Width and height in pixels."""
    rate: Fraction
    """Frames per second."""
    quality: int
    """x264's constant rate factor."""


def encode_take(take: Take, file: Path, container: str) -> None:
    """Write a take as H.264 in one of the containers."""
    # Without bitexact Matroska writes a random id. x264's mbtree is off because its vector code gives different
    # results from call to call on pictures as small as these.
    with av.open(str(file), "w", format=container, container_options={"fflags": "bitexact"}) as output:
        options = {"crf": str(take.quality), "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = output.add_stream("libx264", rate=take.rate, options=options)
        stream.width, stream.height = take.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in take.frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
