"""Write small video files with real encoders, and damage them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    """Encode RGB frames and return the file.

    Args:
        file: its suffix selects the container; missing parent folders are created.
        frames: uint8 `(H, W, 3)`.
        fps: frames per second.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format.
        rotation: degrees, as FFmpeg's display matrix counts them.
        stamps: time of each frame in ms, for a variable rate.
        options: of the encoder.
        pixel_aspect: width of a pixel divided by its height.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _preserved_scheduling(), av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


@contextmanager
def _preserved_scheduling() -> Iterator[None]:
    """Restore the scheduling policy: as root, SVT-AV1 gives its caller real-time priority, which children inherit."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def write_frames(
    file: Path, frames: Sequence[av.VideoFrame], *, codec: str, fps: int = 25, options: dict[str, str] | None = None
) -> Path:
    """Encode frames without conversion, with their pixel format and colour tags."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        context = stream.codec_context
        context.colorspace, context.color_range = frames[0].colorspace, frames[0].color_range
        context.color_trc, context.color_primaries = frames[0].color_trc, frames[0].color_primaries
        for frame in frames:
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def grey_levels(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Return flat frames, each brighter than the one before, so that `brightness` identifies a decoded frame."""
    return [np.full((height, width, 3), level, np.uint8) for level in np.linspace(20, 235, count).astype(np.uint8)]


def brightness(frames: np.ndarray) -> np.ndarray:
    """Return the mean value of each frame: float64 `(F,)` for uint8 `(F, H, W, 3)`."""
    return frames.mean(axis=(1, 2, 3))


def moving_square(seed: int, count: int = 12, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Return frames of a bright square that moves over a dark background."""
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


def textured(seed: int, count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """Return frames of a moving texture, detailed enough for large packets; each frame is brighter than the last."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(0, 110, (height // 4, width // 4 + count, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    return [wall[:height, number * 2 : number * 2 + width] + np.uint8(140 * number // count) for number in range(count)]


def remux(
    source: Path,
    target: Path,
    *,
    options: dict[str, str] | None = None,
    copies: int = 1,
    change: Callable[[av.Packet, int], bool | None] | None = None,
) -> Path:
    """Copy the video's packets to another file and return it.

    Args:
        source: a video file.
        target: its suffix selects the container.
        options: of the container.
        copies: how many times to append the video.
        change: gets each packet and its number and may alter it; returns False to leave it out.
    """
    with av.open(str(target), "w", options=options or {}) as output:
        stream = None
        number = shift = 0
        for _ in range(copies):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                end = shift
                for packet in container.demux(video):
                    if packet.size == 0:
                        continue
                    dts = packet.pts if packet.dts is None else packet.dts
                    packet.pts, packet.dts = packet.pts + shift, dts + shift
                    end = max(end, packet.pts + packet.duration)
                    if change is None or change(packet, number) is not False:
                        packet.stream = stream
                        output.mux_one(packet)
                    number += 1
                shift = end
    return target


def truncate(file: Path, share: float) -> Path:
    """Write the first `share` of a file's bytes to another file and return it."""
    data = file.read_bytes()
    truncated = file.with_name(f"cut-{share}-{file.name}")
    truncated.write_bytes(data[: int(len(data) * share)])
    return truncated


def corrupt_packets(file: Path, numbers: Iterable[int], *, header: bool = False, before: int = 0) -> Path:
    """Overwrite parts of some video packets with noise in a copy of the file, and return the copy.

    Args:
        file: a video file.
        numbers: of the packets, in file order.
        header: overwrite the first two thirds of each packet rather than the middle third.
        before: bytes to overwrite before the packet too, with `header`.
    """
    with av.open(str(file)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data, rng = bytearray(file.read_bytes()), np.random.default_rng(0)
    for number in numbers:
        position, size = packets[number]
        start, end = position + (-before if header else size // 3), position + size - size // 3
        data[start:end] = rng.bytes(end - start)
    corrupted = file.with_name(f"broken-{file.name}")
    corrupted.write_bytes(data)
    return corrupted
