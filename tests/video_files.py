"""Small video files for tests, written with the real encoders."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    file: Path,
    frames: Sequence[np.ndarray],
    *,
    fps: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int = 0,
    stamps: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Encode RGB uint8 frames `(H, W, 3)`; `stamps` are times in ms where the rate is not constant."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels_rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_rgb, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def grey_levels(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Flat frames, each brighter than the one before: a decoded frame tells which one it was."""
    return [np.full((height, width, 3), level, np.uint8) for level in np.linspace(20, 235, count).astype(np.uint8)]


def moving_square(seed: int, count: int = 12, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A bright square that wanders over a dark background."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 60, 3)
    x, y = rng.integers(0, width - 16), rng.integers(0, height - 16)
    frames = []
    for step in range(count):
        frame = np.tile(background.astype(np.uint8), (height, width, 1))
        left = int(x + 4 * step) % (width - 16)
        frame[y : y + 16, left : left + 16] = 230
        frames.append(frame)
    return frames
