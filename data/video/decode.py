"""How a video file becomes frames: which pictures are wanted, what they come to, what of the file is broken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.errors import DataError
from data.video.container import choose_video_stream, container_errors, declared_size, open_container
from data.video.frame_converter import Developer, orientation
from data.video.reach import Footage, Sampling, reach
from data.video.timeline import PacketReader, Timeline, read_timeline

DECODER_VERSION = 3
"""Raise this when the same file and settings give other pixels: stored frames are then decoded anew."""

_MOST_REASONS = 3
"""Messages of a container that are passed on; a torn file has many."""


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


class UnusableClipError(DataError):
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
    """Video packets in the file, and those it lacks as far as is known: the frames that it should give."""
    frames: int
    """Frames that decode. Where nothing was out of order, packets whose frame is neither kept nor needed by any other
    count unseen; in a video sampled by seeking, only frames that were decoded do."""
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


def decode_clip(path: Path, settings: DecodeSettings) -> DecodedClip:
    """Decode one video file.

    Raises:
        UnusableClipError: the file is empty, not a video, has no video stream, decodes no frame, or loses more than
            half of its frames to damage.
        OSError: the file can't be opened.
    """
    with opened(path) as (container, stream):
        return _decode(path, container, stream, settings)


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video file's container and the stream to decode.

    Raises:
        UnusableClipError: the file is empty, not a video, or has no video stream; also for what FFmpeg says meanwhile.
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


def _decode(path: Path, container: InputContainer, stream: VideoStream, settings: DecodeSettings) -> DecodedClip:
    reader = PacketReader(container, stream)
    with container_errors(container) as errors:
        timeline, held = read_timeline(reader)
    losses = list(reader.losses) or errors[:_MOST_REASONS]
    if timeline is None:
        raise UnusableClipError("unreadable", ": ".join(["it has no video packets", *losses]))
    wanted: list[int] = timeline.sample(settings.frames).tolist()
    develop = Developer(settings.short_side, stream.sample_aspect_ratio)
    promised, is_cut = _promised(path, stream, timeline, reader, bool(losses))
    if is_cut:
        losses.append("the file is cut short")
    sampling = reach(Footage(path, container, stream, timeline, held, whole=not losses), wanted, develop)
    if sampling.first is None:
        raise UnusableClipError("unreadable", ": ".join(["none of its frames decodes", *sampling.troubles]))
    facts = ClipFacts(
        container=container.format.name,
        codec=stream.codec_context.name,
        width=sampling.first.width,
        height=sampling.first.height,
        rotation=90 * orientation(sampling.first)[0],
        fps=timeline.packets / timeline.seconds,
        variable_rate=timeline.varies,
        packets=promised,
        frames=sampling.decoded if sampling.sought else _decoded(sampling, timeline),
        duration=timeline.seconds,
        sought=sampling.sought,
        damage=_damage(sampling, timeline, promised, losses),
    )
    return DecodedClip(stacked(sampling.finish()), facts)


def _promised(
    path: Path, stream: VideoStream, timeline: Timeline, reader: PacketReader, losses: bool
) -> tuple[int, bool]:
    """Pictures that the file should show: those of its packets, and more where some are known to be missing.

    Also whether they are missing at the end.
    """
    name, size = stream.container.format.name, path.stat().st_size
    if "mp4" in name:
        missing = len(stream.index_entries) - len(timeline.stamps) - reader.empty
        if missing > 0:
            return timeline.packets + missing, True
    declared = declared_size(path, name)
    is_cut = declared > size
    if not is_cut and not losses:
        return timeline.packets, False
    by_size = math.ceil(timeline.packets * (declared - reader.first_byte) / max(1, size - reader.first_byte))
    by_duration = 0
    # A file known to be cut tells by its size; one with holes only by the times around them.
    if timeline.sound and (not is_cut or "mp4" in name):
        by_duration = round(timeline.packets * _claimed_seconds(stream) / timeline.seconds)
    return max(timeline.packets + timeline.gaps, by_size, by_duration), is_cut


def _claimed_seconds(stream: VideoStream) -> float:
    """The video's length as its header says, 0 where that may be another stream's."""
    container = stream.container
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if isinstance(container, InputContainer) and container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return 0.0


def _decoded(sampling: Sampling, timeline: Timeline) -> int:
    """Packets whose frame decodes, or would: those left out on purpose are taken to be as sound as those seen."""
    if sampling.quick or sampling.sought:
        return timeline.packets
    # Two packets may be the fields of one frame.
    return max(0, timeline.packets - sampling.lost) if sampling.interlaced else sampling.decoded


def _damage(sampling: Sampling, timeline: Timeline, promised: int, losses: list[str]) -> str:
    """What is wrong with a clip of which most decodes; empty if nothing is.

    Raises:
        UnusableClipError: less than half of it decodes.
    """
    reasons = list(dict.fromkeys([*sampling.troubles, *losses]))
    all_decoded = not (sampling.quick or sampling.sought)
    if all_decoded and timeline.stamped and sampling.first_stamp > timeline.shown[0]:
        reasons.append("nothing decodes before the first key frame")
    decoded, expected, what = _decoded(sampling, timeline), promised, "frames"
    # Where recordings were joined, counters of packets jump although none is missing.
    if not reasons or (all_decoded and reasons == losses and decoded >= expected):
        return ""
    if sampling.sought and sampling.troubles and 2 * decoded >= expected:
        decoded, expected, what = sampling.found, len(sampling.wanted), "sampled frames"
    text = f"{decoded} of {expected} {what} decode ({', '.join(reasons)})"
    if 2 * decoded < expected:
        raise UnusableClipError("truncated", text)
    return text


def stacked(pictures: Sequence[np.ndarray], shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Pictures `(H, W, 3)` as `(F, H, W, 3)`; a stream may change its size midway, but the first picture's holds.

    Args:
        pictures: uint8.
        shape: of the first picture, where that is not among these.
    """
    first = shape or pictures[0].shape
    same = [picture if picture.shape == first else _refit(picture, first) for picture in pictures]
    return np.stack(same)


def _refit(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(width=shape[1], height=shape[0]).to_ndarray()
