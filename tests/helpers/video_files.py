"""Small video files for tests, written with the real encoders."""

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
    """Encode RGB uint8 frames `(H, W, 3)`; `stamps` are times in ms where the rate is not constant."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _own_turn(), av.open(str(file), "w") as container:
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


@contextmanager
def _own_turn() -> Iterator[None]:
    """SVT-AV1 puts root's thread that calls it before all other processes: all started later would inherit that."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


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


def write_frames(
    file: Path, frames: Sequence[av.VideoFrame], *, codec: str, fps: int = 25, options: dict[str, str] | None = None
) -> Path:
    """Encode frames as they are: pixel format, colour tags and all."""
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


def remux(
    source: Path,
    target: Path,
    *,
    options: dict[str, str] | None = None,
    copies: int = 1,
    change: Callable[[av.Packet, int], bool | None] | None = None,
) -> Path:
    """Copy the video's packets to another file, one after another as often as `copies` says.

    `change` gets each packet and its number and may alter it; the packet is left out where it returns False.
    """
    with av.open(str(target), "w", options=options or {}) as output:
        stream = None
        number = shift = 0
        for _ in range(copies):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                after = shift
                for packet in container.demux(video):
                    if packet.size == 0:
                        continue
                    packet.pts, packet.dts = (
                        packet.pts + shift,
                        (packet.pts if packet.dts is None else packet.dts) + shift,
                    )
                    after = max(after, packet.pts + packet.duration)
                    if change is None or change(packet, number) is not False:
                        packet.stream = stream
                        output.mux_one(packet)
                    number += 1
                shift = after
    return target


def cut(file: Path, share: float) -> Path:
    """The file's first bytes."""
    data = file.read_bytes()
    short = file.with_name(f"cut-{share}-{file.name}")
    short.write_bytes(data[: int(len(data) * share)])
    return short


def break_packets(file: Path, numbers: Iterable[int], *, seed: int = 0, head: bool = False, before: int = 0) -> Path:
    """Noise over the middle third of these video packets, or over all before it, and what stands before the packet."""
    with av.open(str(file)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data, rng = bytearray(file.read_bytes()), np.random.default_rng(seed)
    for number in numbers:
        position, size = places[number]
        start, end = position + (-before if head else size // 3), position + size - size // 3
        data[start:end] = rng.bytes(end - start)
    broken = file.with_name(f"broken-{file.name}")
    broken.write_bytes(data)
    return broken


def textured(seed: int, count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A mottled wall that drifts past, too rich for its packets to be mere headers; each frame is brighter."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(0, 110, (height // 4, width // 4 + count, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    return [wall[:height, number * 2 : number * 2 + width] + np.uint8(140 * number // count) for number in range(count)]
