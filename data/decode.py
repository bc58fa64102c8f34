"""How a video file becomes frames: demux, pick by time, turn upright, scale, uint8 RGB.

Only the wanted frames are converted and scaled: decoding itself is unavoidable, conversion of every frame is
what makes the usual loaders slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.errors import DataError

DECODER_VERSION = 2
"""Raise this when the same file and settings give other pixels: stored frames are then decoded anew."""

LONGEST_ASPECT = 4
"""A stored frame's long side is at most this many short sides, so that one panorama can't fill the store."""


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What of a clip is kept; part of the frame store's key."""

    frames: int = 32
    """Frames kept of each clip, equally spaced in time."""

    short_side: int = 128
    """Short side of a kept frame in pixels; the aspect ratio stays, smaller videos are not enlarged."""

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= 1024:
            raise DataError(f"frames to keep a clip must be 1 to 1024, not {self.frames}")
        if not 16 <= self.short_side <= 2160:
            raise DataError(f"the short side of a kept frame must be 16 to 2160 pixels, not {self.short_side}")


class UnusableClip(DataError):
    """A file that gives no frames, or too few to stand for the clip; the message is the reason without its name."""

    def __init__(self, defect: str, reason: str) -> None:
        super().__init__(reason)
        self.defect = defect
        """The defect's name: `unreadable`, `no video stream`, `truncated`."""


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What decoding a file tells of it; plain values."""

    container: str
    """FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: str
    """FFmpeg's name of the decoder, such as `h264`."""
    width: int
    """Pixels as coded, before rotation."""
    height: int
    """Pixels as coded, before rotation."""
    rotation: int
    """Degrees clockwise by which a player turns the picture: 0, 90, 180 or 270."""
    fps: float
    """Mean frames a second over the clip."""
    variable_rate: bool
    """Whether the time between frames differs by more than the rounding of time stamps."""
    packets: int
    """Video packets in the file: the frames that it should give."""
    frames: int
    """Frames that decoded."""
    duration: float
    """Seconds from the first picture to the end of the last."""
    sought: bool
    """Sampled by seeking, since it is long: fewer frames than packets are then no damage."""
    damage: str
    """Empty, or what was wrong with a clip of which most still decodes."""


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """The kept frames of one clip."""

    frames: np.ndarray
    """uint8 RGB, `(F, H, W, 3)` with F as set; time instants before the first or after the last frame that
    decodes hold that frame."""
    facts: ClipFacts


@dataclass(frozen=True, slots=True)
class _Timeline:
    """When a video stream's pictures are shown, from its packets alone (seconds, first picture at `start`)."""

    start: float
    end: float
    packets: int
    variable: bool


def decode_clip(path: Path, settings: DecodeSettings) -> DecodedClip:
    """Decode one video file.

    Raises:
        UnusableClip: the file is empty, not a video, has no video stream, decodes no frame, or loses more than
            half of its time span to damage.
        OSError: the file can't be opened.
    """
    if path.stat().st_size == 0:
        raise UnusableClip("unreadable", "the file is empty")
    try:
        timeline = _read_timeline(path)
        with av.open(str(path)) as container:
            return _decode_wanted(container, _video_stream(container), timeline, settings)
    except av.error.FFmpegError as error:
        raise UnusableClip("unreadable", f"FFmpeg can't read it: {error.strerror or error}") from error


def _video_stream(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise UnusableClip("no video stream", "it has no video stream")
    stream = container.streams.video[0]
    # One thread a clip: clips are decoded side by side, and FFmpeg's own threads would fight over the cores.
    stream.codec_context.thread_count = 1
    return stream


def _read_timeline(path: Path) -> _Timeline:
    """Headers lie about duration and frame count; the packets' own time stamps do not."""
    with av.open(str(path)) as container:
        stream = _video_stream(container)
        step = float(1 / (stream.average_rate or stream.guessed_rate or Fraction(25)))
        first, last, packets = math.inf, -math.inf, 0
        stamps: list[float] = []
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                packets += 1
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is None or packet.time_base is None:
                    continue
                shown = float(stamp * packet.time_base)
                length = float(packet.duration * packet.time_base) if packet.duration else step
                first, last = min(first, shown), max(last, shown + length)
                stamps.append(shown)
        except av.error.FFmpegError:
            if packets == 0:
                raise
    if packets == 0:
        raise UnusableClip("unreadable", "it has no video packets")
    if not math.isfinite(first):
        first, last = 0.0, packets * step
    return _Timeline(first, last, packets, _varies(stamps))


def _varies(stamps: list[float]) -> bool:
    """Milliseconds of rounding (Matroska's time stamps) are no variation."""
    steps = np.diff(np.sort(stamps))
    return len(steps) > 1 and float(steps.max() - steps.min()) > 0.0025


def _decode_wanted(
    container: InputContainer, stream: VideoStream, timeline: _Timeline, settings: DecodeSettings
) -> DecodedClip:
    """Sample and hold: each wanted instant gets the picture on screen at that time."""
    wanted = timeline.start + (np.arange(settings.frames) + 0.5) / settings.frames * (timeline.end - timeline.start)
    kept: list[np.ndarray] = []
    on_screen: VideoFrame | None = None
    picture: np.ndarray | None = None
    decoded, broken = 0, ""
    try:
        for frame, time in _timed_frames(container, stream, timeline):
            decoded += 1
            while on_screen is not None and len(kept) < len(wanted) and wanted[len(kept)] < time:
                picture = _to_picture(on_screen, stream, settings.short_side) if picture is None else picture
                kept.append(picture)
            on_screen, picture = frame, None
    except av.error.FFmpegError as error:
        broken = error.strerror or str(error)
    if on_screen is None:
        raise UnusableClip("unreadable", "none of its frames decodes" + (f": {broken}" if broken else ""))
    covered = decoded / timeline.packets
    if broken and covered < 0.5:
        raise UnusableClip("truncated", f"{decoded} of {timeline.packets} frames decode ({broken})")
    if len(kept) < len(wanted):
        last = _to_picture(on_screen, stream, settings.short_side)
        kept += [last] * (len(wanted) - len(kept))
    damage = f"{decoded} of {timeline.packets} frames decode ({broken})" if broken else ""
    duration = timeline.end - timeline.start
    facts = ClipFacts(
        container=container.format.name,
        codec=stream.codec_context.name,
        width=on_screen.width,
        height=on_screen.height,
        rotation=-round(on_screen.rotation) % 360,
        fps=timeline.packets / duration if duration > 0 else 0.0,
        variable_rate=timeline.variable,
        packets=timeline.packets,
        frames=decoded,
        duration=duration,
        sought=False,
        damage=damage,
    )
    return DecodedClip(_stack(kept), facts)


def _timed_frames(
    container: InputContainer, stream: VideoStream, timeline: _Timeline
) -> Iterator[tuple[VideoFrame, float]]:
    """Frames in the order shown, with their time in seconds; the last ones come by the decoder's flush."""
    step = (timeline.end - timeline.start) / timeline.packets
    time = timeline.start - step
    for packet in container.demux(stream):
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame)
            time = float(frame.time) if frame.time is not None else time + step
            yield frame, time


def _to_picture(frame: VideoFrame, stream: VideoStream, short_side: int) -> np.ndarray:
    """uint8 RGB `(H, W, 3)`, square pixels, upright."""
    width, height = _picture_size(frame, stream.sample_aspect_ratio, short_side)
    rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, k=round(frame.rotation / 90) % 4))


def _picture_size(frame: VideoFrame, pixel_aspect: Fraction | None, short_side: int) -> tuple[int, int]:
    wide = frame.width * float(pixel_aspect or 1)
    scale = min(1.0, short_side / min(wide, frame.height))
    longest = LONGEST_ASPECT * short_side
    return (
        max(1, min(longest, round(wide * scale))),
        max(1, min(longest, round(frame.height * scale))),
    )


def _stack(pictures: list[np.ndarray]) -> np.ndarray:
    """A stream may change its size midway; the first picture's size holds."""
    first = pictures[0].shape
    same = [picture if picture.shape == first else _refit(picture, first) for picture in pictures]
    return np.stack(same)


def _refit(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(width=shape[1], height=shape[0]).to_ndarray()
