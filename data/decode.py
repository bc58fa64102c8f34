"""How a video file becomes frames: which pictures are wanted, by which packets they are reached, what is broken.

Only what is wanted costs time. Only the wanted frames are converted and scaled; frames that no other is built on are
not decoded where they are not wanted; a long video is entered at the key frame before each wanted picture. Each of
these gives the same pixels as decoding and converting everything, and each is given up as soon as anything in the file
is out of order: then every frame is decoded, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.container import choose_video_stream, container_errors, declared_size, open_container
from data.errors import DataError
from data.picture import Developer, orientation
from data.timeline import PacketReader, Timeline, read_timeline

DECODER_VERSION = 3
"""Raise this when the same file and settings give other pixels: stored frames are then decoded anew."""

_HELD_BYTES = 64 * 2**20
"""Packets of a clip up to this size are kept between reading its time line and decoding, so it is read once."""

_LONG_PACKETS = 1500
"""From here on (a minute at 25 frames a second) leaving out most of a video is worth not having looked at it all."""

_SEEK_SHARE = 0.75
"""Seeking pays when it decodes at most this share of the packets: to seek all of a video costs a sixth more than to
read it through."""

_MOST_REASONS = 3
"""Messages of a container that are passed on; a torn file has many."""

_ASTRAY_SHARE = 0.25
"""A container that leads further than this share of the packets before a key frame can't seek."""


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
        UnusableClip: the file is empty, not a video, has no video stream, decodes no frame, or loses more than
            half of its frames to damage.
        OSError: the file can't be opened.
    """
    with path.open("rb") as file:
        if not file.read(1):
            raise UnusableClip("unreadable", "the file is empty")
    try:
        with open_container(path) as container:
            return _decode(path, container, settings)
    except av.error.FFmpegError as error:
        raise UnusableClip("unreadable", f"FFmpeg can't read it: {error.strerror or error}") from error


def _decode(path: Path, container: InputContainer, settings: DecodeSettings) -> DecodedClip:
    stream = choose_video_stream(container)
    if stream is None:
        raise UnusableClip("no video stream", "it has no video stream")
    reader = PacketReader(container, stream)
    with container_errors(container) as errors:
        timeline, held = read_timeline(reader, _HELD_BYTES)
    losses = list(reader.losses) or errors[:_MOST_REASONS]
    if timeline is None:
        raise UnusableClip("unreadable", ": ".join(["it has no video packets", *losses]))
    wanted: list[int] = timeline.sample(settings.frames).tolist()
    develop = Developer(settings.short_side, stream.sample_aspect_ratio)
    promised, is_cut = _promised(path, stream, timeline, reader.empty, bool(losses))
    if is_cut:
        losses.append("the file is cut short")
    sampling = _sample_by_seeking(container, stream, timeline, wanted, develop)
    if sampling is None:
        sampling = _sample_through(path, stream, held, timeline, wanted, develop, whole=not losses)
    first, pictures = sampling.finish()
    facts = ClipFacts(
        container=container.format.name,
        codec=stream.codec_context.name,
        width=first.width,
        height=first.height,
        rotation=90 * orientation(first)[0],
        fps=timeline.packets / timeline.seconds,
        variable_rate=timeline.varies,
        packets=promised,
        frames=timeline.packets if sampling.quick and not sampling.sought else sampling.decoded,
        duration=timeline.seconds,
        sought=sampling.sought,
        damage=_damage(sampling, timeline, promised, losses),
    )
    return DecodedClip(_stack(pictures), facts)


def _promised(path: Path, stream: VideoStream, timeline: Timeline, empty: int, losses: bool) -> tuple[int, bool]:
    """Pictures that the file should show: those of its packets, and more where some are known to be missing.

    Also whether they are missing at the end.
    """
    name, size = stream.container.format.name, path.stat().st_size
    if "mp4" in name:
        missing = len(stream.index_entries) - len(timeline.stamps) - empty
        if missing > 0:
            return timeline.packets + missing, True
    declared = declared_size(path, name)
    is_cut = declared > size
    if not is_cut and not losses:
        return timeline.packets, False
    by_size = math.ceil(timeline.packets * declared / size)
    by_duration = round(timeline.packets * _claimed_seconds(stream) / timeline.seconds)
    # A file known to be cut tells by its size; one with holes only by the times around them.
    if is_cut and "mp4" not in name:
        by_duration = 0
    return max(timeline.packets + timeline.gaps, by_size, by_duration), is_cut


def _claimed_seconds(stream: VideoStream) -> float:
    """The video's length as its header says, 0 where that may be another stream's."""
    container = stream.container
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if isinstance(container, InputContainer) and container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return 0.0


def _damage(sampling: _Sampling, timeline: Timeline, promised: int, losses: list[str]) -> str:
    """What is wrong with a clip of which most decodes; empty if nothing is.

    Raises:
        UnusableClip: less than half of it decodes.
    """
    reasons = list(dict.fromkeys([*sampling.troubles, *losses]))
    all_decoded = not (sampling.quick or sampling.sought)
    if all_decoded and timeline.stamped and sampling.first_stamp > timeline.shown[0]:
        reasons.append("nothing decodes before the first key frame")
    if not reasons:
        return ""
    decoded, expected, what = sampling.decoded if all_decoded else timeline.packets, promised, "frames"
    if sampling.sought and sampling.troubles and 2 * decoded >= expected:
        decoded, expected, what = sampling.found, len(sampling.wanted), "sampled frames"
    text = f"{decoded} of {expected} {what} decode ({', '.join(reasons)})"
    if 2 * decoded < expected:
        raise UnusableClip("truncated", text)
    return text


class _Sampling:
    """Sample and hold: each wanted stamp gets the picture on screen at that time.

    A frame that FFmpeg says it had to make up in part is shown only if there is none before it. Frames built on such
    a one look smeared until the next key frame; nothing tells them from sound ones, and they are used.
    """

    def __init__(self, wanted: list[int], develop: Developer, timeline: Timeline, *, quick: bool, sought: bool) -> None:
        self.wanted = wanted
        self.quick = quick
        """Frames that are neither wanted nor needed by others are left out, until anything is out of order."""
        self.sought = sought
        self.decoded = 0
        """Sound frames that came out of the decoder."""
        self.found = 0
        """Wanted stamps that got their own frame rather than an earlier one."""
        self.troubles: dict[str, None] = {}
        """What went wrong, in the order of appearance."""
        self.interlaced = False
        self.first: VideoFrame | None = None
        self.first_stamp = 0
        self.latest = int(timeline.shown[0]) - 1
        """Stamp of the last frame seen."""
        self._shown = timeline.shown
        self._develop = develop
        self._pictures: list[np.ndarray] = []
        self._on_screen: VideoFrame | None = None
        self._picture: np.ndarray | None = None
        self._since = 0

    @property
    def in_order(self) -> bool:
        """Nothing seen so far asks for every frame to be decoded."""
        return not self.troubles and not self.interlaced

    def is_exact(self) -> bool:
        """Whether each wanted stamp got its own frame, once all packets were fed."""
        return self.first is not None and bool(self.finish()) and self.found == len(self.wanted)

    def feed(self, codec: VideoCodecContext, packets: Iterable[Packet[VideoStream]], until: int | None = None) -> None:
        """Decode packets, to the end or until the frame of stamp `until` was seen."""
        needed = set(self.wanted)
        for packet in packets:
            if self.quick:
                # The first frame tells whether the video has fields, which are not to be torn from each other.
                unneeded = self.first is not None and packet.pts not in needed
                codec.skip_frame = "NONREF" if unneeded else "DEFAULT"
            self._decode(codec, packet)
            if (self.quick and not self.in_order) or (until is not None and self.latest >= until):
                return
        self._decode(codec, None)

    def finish(self) -> tuple[VideoFrame, list[np.ndarray]]:
        """The first frame, and a picture for each wanted stamp.

        Raises:
            UnusableClip: there was no frame.
        """
        if self.first is None:
            raise UnusableClip("unreadable", ": ".join(["none of its frames decodes", *self.troubles]))
        while len(self._pictures) < len(self.wanted):
            self._take()
        return self.first, self._pictures

    def _decode(self, codec: VideoCodecContext, packet: Packet[VideoStream] | None) -> None:
        try:
            for frame in codec.decode(packet):
                self._show(frame)
        except av.error.FFmpegError as error:
            self.troubles[error.strerror or str(error)] = None

    def _show(self, frame: VideoFrame) -> None:
        stamp = frame.pts if frame.pts is not None and frame.pts > self.latest else self._next_stamp()
        self.latest = stamp
        self.interlaced |= frame.interlaced_frame
        if frame.is_corrupt:
            self.troubles["damaged pictures"] = None
            if self._on_screen is not None:
                return
        else:
            self.decoded += 1
        if self._on_screen is None:
            self.first, self.first_stamp = frame, stamp
        else:
            while len(self._pictures) < len(self.wanted) and self.wanted[len(self._pictures)] < stamp:
                self._take()
        self._on_screen, self._picture, self._since = frame, None, stamp

    def _next_stamp(self) -> int:
        """Decoders give frames in the order shown, whatever their stamps."""
        after = int(np.searchsorted(self._shown, self.latest, side="right"))
        return int(self._shown[min(after, len(self._shown) - 1)])

    def _take(self) -> None:
        assert self._on_screen is not None
        if self._picture is None:
            self._picture = self._develop(self._on_screen)
        self.found += self._since == self.wanted[len(self._pictures)]
        self._pictures.append(self._picture)


def _sample_through(
    path: Path,
    stream: VideoStream,
    held: list[Packet[VideoStream]] | None,
    timeline: Timeline,
    wanted: list[int],
    develop: Developer,
    *,
    whole: bool,
) -> _Sampling:
    """Decode from the first packet to the last."""
    separable = whole and timeline.stamped and len(timeline.shown) == timeline.packets
    for quick in (True, False) if separable else (False,):
        sampling = _Sampling(wanted, develop, timeline, quick=quick, sought=False)
        if held is None:
            with open_container(path) as container:
                again = choose_video_stream(container)
                assert again is not None
                sampling.feed(again.codec_context, (packet for packet, _, _ in PacketReader(container, again)))
        else:
            stream.codec_context.flush_buffers()
            stream.codec_context.skip_frame = "DEFAULT"
            sampling.feed(stream.codec_context, held)
        if sampling.in_order and sampling.is_exact():
            break
    return sampling


def _sample_by_seeking(
    container: InputContainer, stream: VideoStream, timeline: Timeline, wanted: list[int], develop: Developer
) -> _Sampling | None:
    """Decode from the key frame before each wanted picture; None where the video is to be decoded through."""
    runs = _plan_runs(timeline, wanted)
    if not runs:
        return None
    for quick in (True, False):
        sampling = _Sampling(wanted, develop, timeline, quick=quick, sought=True)
        stream.codec_context.skip_frame = "DEFAULT"
        try:
            for run in runs:
                container.seek(run.seek, stream=stream)
                sampling.feed(stream.codec_context, _packets_of(run, container, stream, timeline), run.until)
                if quick and not sampling.in_order:
                    break
        except (_Astray, av.error.FFmpegError):
            return None
        if sampling.is_exact() and (sampling.in_order or not quick):
            return sampling
    return sampling if sampling.troubles else None


@dataclass(frozen=True, slots=True)
class _Run:
    """Packets that are decoded for some of the wanted pictures."""

    key: int
    """The stamp of the key frame where decoding starts."""
    seek: int
    """Its decoding time stamp: some containers are searched by it, the others then lead to a key frame earlier."""
    until: int
    """The last wanted stamp."""


class _Astray(Exception):
    """Seeking did not lead to where a run starts."""


def _plan_runs(timeline: Timeline, wanted: list[int]) -> list[_Run]:
    """Where to enter a long video; nothing where that can't be known or would not pay."""
    keys = np.flatnonzero(timeline.keys)
    stamps = timeline.stamps[keys]
    if timeline.packets < _LONG_PACKETS or not (timeline.stamped and timeline.sound) or (np.diff(stamps) <= 0).any():
        return []
    # The last key frame shown no later: frames shown before a key frame may lean on what came before it.
    entries = np.searchsorted(stamps, wanted, side="right") - 1
    if (entries < 0).any():
        return []
    order = np.argsort(timeline.stamps, kind="stable")
    places = order[np.searchsorted(timeline.stamps[order], wanted)]
    runs, packets = [], 0
    for entry in np.unique(entries):
        mine = np.flatnonzero(entries == entry)
        packets += int(places[mine].max() - keys[entry] + 1)
        runs.append(_Run(int(stamps[entry]), int(timeline.decoding[keys[entry]]), wanted[mine[-1]]))
    return runs if packets <= _SEEK_SHARE * len(timeline.stamps) else []


def _packets_of(
    run: _Run, container: InputContainer, stream: VideoStream, timeline: Timeline
) -> Iterator[Packet[VideoStream]]:
    """The packets from a run's key frame on, of a container that was sent there."""
    passed, entered = 0, False
    for packet, stamp, _ in PacketReader(container, stream):
        if not entered:
            entered = packet.is_keyframe and stamp == run.key
            passed += 1
            if (packet.is_keyframe and stamp > run.key) or passed > _ASTRAY_SHARE * len(timeline.stamps):
                raise _Astray
        if entered:
            yield packet
    if not entered:
        raise _Astray


def _stack(pictures: list[np.ndarray]) -> np.ndarray:
    """A stream may change its size midway; the first picture's size holds."""
    first = pictures[0].shape
    same = [picture if picture.shape == first else _refit(picture, first) for picture in pictures]
    return np.stack(same)


def _refit(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(width=shape[1], height=shape[0]).to_ndarray()
