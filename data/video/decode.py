"""Decode a video file: a fixed number of frames, equally spaced in time, and facts about the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.video.container import UnusableClipError, open_video
from data.video.damage import decodable_frames, describe_damage, expected_frames
from data.video.frame_converter import FrameConverter, orientation, stack_frames
from data.video.frame_reader import read_frames
from data.video.scan import ScannedVideo, scan_video

DECODER_VERSION = 3
"""Increase this when the same file and settings yield different pixels, so that stored frames are decoded again."""


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """Which frames of a clip are stored, and how large; part of the frame store's key."""

    frames: int = 32
    """Frames per clip, equally spaced in time."""

    short_side: int = 128
    """Short side of a frame in pixels; the aspect ratio is preserved, smaller videos are not enlarged."""

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= 1024:
            raise DataError(f"frames per clip must be 1 to 1024, not {self.frames}")
        if not 16 <= self.short_side <= 2160:
            raise DataError(f"the short side of a frame must be 16 to 2160 pixels, not {self.short_side}")


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was learned about a file by decoding it; the field names are part of the frame store's format."""

    container: str
    """FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: str
    """FFmpeg's name of the decoder, such as `h264`."""
    width: int
    """Pixels as coded, before rotation."""
    height: int
    """Pixels as coded, before rotation."""
    rotation: int
    """Degrees clockwise by which a player rotates the frames: 0, 90, 180 or 270."""
    fps: float
    """Mean frames per second over the clip."""
    variable_rate: bool
    """Whether the time between frames varies by more than the rounding of time stamps."""
    packets: int
    """Frames that the file should display: its video packets, and an estimate of missing ones."""
    frames: int
    """Frames that decode, skipped ones included; of a video sampled by seeking, only the decoded ones."""
    duration: float
    """Seconds from the first frame to the end of the last."""
    sought: bool
    """Whether the video is long and was sampled by seeking; fewer frames than packets are then not damage."""
    damage: str
    """Description of the damage of a clip of which most frames decode; empty without damage."""


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """Frames and facts of one clip."""

    frames: np.ndarray
    """uint8 RGB, `(F, H, W, 3)`. For a time at which no frame decodes it is the last frame before that does, or the
    first that does."""
    facts: ClipFacts


def decode_clip(path: Path, settings: DecodeSettings) -> DecodedClip:
    """Decode one video file.

    Raises:
        UnusableClipError: the file is empty, not a video, has no video stream, has no frame that decodes, or loses more
            than half of its frames to damage.
        OSError: the file can't be opened.
    """
    with open_video(path) as (container, stream):
        return _decode(scan_video(path, container, stream), settings)


def _decode(video: ScannedVideo, settings: DecodeSettings) -> DecodedClip:
    timeline, stream = video.timeline, video.stream
    expected, truncated = expected_frames(video)
    read_errors = [*video.errors, *(["the file is cut short"] if truncated else [])]
    requested: list[int] = timeline.sample_pts(settings.frames).tolist()
    converter = FrameConverter(settings.short_side, stream.sample_aspect_ratio)
    collector = read_frames(video, requested, converter, intact=not read_errors)
    first = collector.first_frame
    if first is None:
        raise UnusableClipError("unreadable", ": ".join(["none of its frames decodes", *collector.errors]))
    facts = ClipFacts(
        container=video.container.format.name,
        codec=stream.codec_context.name,
        width=first.width,
        height=first.height,
        rotation=90 * orientation(first)[0],
        fps=timeline.num_displayed / timeline.seconds,
        variable_rate=timeline.variable_rate,
        packets=expected,
        frames=collector.num_decoded if collector.seeking else decodable_frames(collector, timeline),
        duration=timeline.seconds,
        sought=collector.seeking,
        damage=describe_damage(collector, timeline, expected, read_errors),
    )
    return DecodedClip(stack_frames(collector.finish()), facts)
