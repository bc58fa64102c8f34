"""How the wanted pictures of a video stream are reached: all of it decoded, or only what they depend on.

Frames that no wanted picture depends on are left out: those that no other frame is built on, and all from the last
wanted picture before a key frame to that key frame. This gives the same pixels as decoding everything, and is given up
as soon as anything is out of order: then every frame is decoded, and counted.
"""

from __future__ import annotations

import itertools
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

from data.video.container import choose_video_stream, open_container
from data.video.frame_converter import Developer
from data.video.timeline import PacketReader, Timeline

_LONG_PACKETS = 1500
"""From here on (a minute at 25 frames a second) it takes seconds to decode a video that is otherwise not looked at."""

_LONG_SHARE = 0.75
"""A long video is sought in if that decodes at most this share of it: to seek all of one costs a sixth more than to
read it through."""

_ASTRAY_SHARE = 0.25
"""A container that leads further than this share of the packets before a key frame can't seek."""


class Sampling:
    """Sample and hold: each wanted stamp gets the picture on screen at that time.

    A frame that FFmpeg says it had to make up in part is shown only if there is none before it. Frames built on such
    a one look smeared until the next key frame; nothing tells them from sound ones, and they are used.
    """

    def __init__(self, wanted: list[int], develop: Developer, timeline: Timeline, *, quick: bool, sought: bool) -> None:
        self.wanted = wanted
        self.quick = quick
        """Frames that are neither wanted nor needed by others are left out, until anything is out of order."""
        self.sought = sought
        """Most of a long video was never looked at."""
        self.decoded = 0
        """Sound frames that came out of the decoder."""
        self.lost = 0
        """Packets that the decoder refused, and frames that it made up in part."""
        self.found = 0
        """Wanted stamps that got their own frame rather than an earlier one."""
        self.troubles: dict[str, None] = {}
        """What went wrong, in the order of appearance."""
        self.interlaced = False
        self.first: VideoFrame | None = None
        """The first frame seen."""
        self.first_stamp = 0
        """When it is shown."""
        self.latest = int(timeline.shown[0]) - 1
        """Stamp of the last frame seen."""
        self._shown = timeline.shown
        self._develop = develop
        self._taken = 0
        self._pictures: list[np.ndarray] = []
        self._on_screen: VideoFrame | None = None
        self._picture: np.ndarray | None = None
        self._since = 0

    @property
    def in_order(self) -> bool:
        """Nothing seen so far asks for every frame to be decoded."""
        return not self.troubles and not self.interlaced

    def is_settled(self) -> bool:
        """Whether, once all packets were fed, more decoding would give nothing else."""
        if self.first is None or (self.quick and not self.in_order):
            return False
        self.finish()
        return len(self.wanted) == self.found or (not self.quick and bool(self.troubles))

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

    def stream(self, codec: VideoCodecContext, packets: Iterable[Packet[VideoStream]]) -> Iterator[np.ndarray]:
        """The pictures of the wanted stamps in order, each as soon as it is known, none of them kept.

        All packets are decoded until the last picture is known. Nothing comes if no frame decodes.
        """
        for packet in itertools.chain(packets, (None,)):
            self._decode(codec, packet)
            yield from self._pictures
            self._pictures.clear()
            if self._taken == len(self.wanted):
                return
        if self.first is not None:
            yield from self.finish()
            self._pictures.clear()

    def finish(self) -> list[np.ndarray]:
        """A picture for each wanted stamp; there must have been a frame."""
        while self._taken < len(self.wanted):
            self._take()
        return self._pictures

    def _decode(self, codec: VideoCodecContext, packet: Packet[VideoStream] | None) -> None:
        try:
            for frame in codec.decode(packet):
                self._show(frame)
        except av.error.FFmpegError as error:
            self.troubles[error.strerror or str(error)] = None
            self.lost += 1

    def _show(self, frame: VideoFrame) -> None:
        stamp = frame.pts if frame.pts is not None and frame.pts > self.latest else self._next_stamp()
        self.latest = stamp
        self.interlaced |= frame.interlaced_frame
        if frame.is_corrupt:
            self.troubles["damaged pictures"] = None
            self.lost += 1
            if self._on_screen is not None:
                return
        else:
            self.decoded += 1
        if self._on_screen is None:
            self.first, self.first_stamp = frame, stamp
        else:
            while self._taken < len(self.wanted) and self.wanted[self._taken] < stamp:
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
        self.found += self._since == self.wanted[self._taken]
        self._taken += 1
        self._pictures.append(self._picture)


@dataclass(frozen=True, slots=True)
class Footage:
    """What is at hand of a video."""

    path: Path
    container: InputContainer
    """The file, read to its end."""
    stream: VideoStream
    """Of which nothing was decoded."""
    timeline: Timeline
    held: list[Packet[VideoStream]] | None
    """The stream's packets, unless they are too large to keep."""
    whole: bool
    """Nothing was lost as the packets were read."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Packets that are decoded for some of the wanted pictures."""

    first: int
    """The key packet where decoding starts, counted in the order of the file."""
    key: int
    """When its picture is shown."""
    seek: int
    """When it is decoded: some containers are searched by that, the others then lead to a key frame earlier."""
    until: int
    """The last wanted stamp."""
    packets: int
    """From the key packet to that of the last wanted picture."""


class _Astray(Exception):
    """Seeking did not lead to where a run starts."""


def reach(footage: Footage, wanted: list[int], develop: Developer) -> Sampling:
    """Decode what the pictures at the wanted stamps (in order) need, or everything."""
    timeline = footage.timeline
    runs = _plan_runs(timeline, wanted)
    is_long = timeline.packets >= _LONG_PACKETS and sum(run.packets for run in runs) <= _LONG_SHARE * len(
        timeline.stamps
    )
    in_runs = bool(runs) and (is_long or (footage.held is not None and footage.whole))
    if in_runs:
        for quick in (True, False) if is_long else (True,):
            sampling = Sampling(wanted, develop, timeline, quick=quick, sought=is_long)
            if _decode_runs(footage, runs, sampling) and sampling.is_settled():
                return sampling
    separable = footage.whole and timeline.stamped and len(timeline.shown) == timeline.packets
    for quick in (True, False) if separable and not in_runs else (False,):
        sampling = Sampling(wanted, develop, timeline, quick=quick, sought=False)
        _decode_through(footage, sampling)
        if sampling.is_settled():
            break
    return sampling


def _decode_through(footage: Footage, sampling: Sampling) -> None:
    """Decode from the first packet to the last."""
    codec = footage.stream.codec_context
    if footage.held is not None:
        codec.flush_buffers()
        codec.skip_frame = "DEFAULT"
        sampling.feed(codec, footage.held)
        return
    with open_container(footage.path) as container:
        stream = choose_video_stream(container)
        assert stream is not None
        sampling.feed(stream.codec_context, (packet for packet, _, _ in PacketReader(container, stream)))


def _decode_runs(footage: Footage, runs: list[_Run], sampling: Sampling) -> bool:
    """False where a run can't be entered."""
    codec = footage.stream.codec_context
    codec.skip_frame = "DEFAULT"
    try:
        for run in runs:
            sampling.feed(codec, _enter(footage, run), run.until)
            if sampling.quick and not sampling.in_order:
                return False
    except (_Astray, av.error.FFmpegError):
        return False
    return True


def _plan_runs(timeline: Timeline, wanted: list[int]) -> list[_Run]:
    """What to decode for the wanted pictures; nothing where the time stamps don't tell."""
    keys = np.flatnonzero(timeline.keys)
    stamps = timeline.stamps[keys]
    clear = timeline.stamped and timeline.sound and len(timeline.shown) == timeline.packets
    # The last key frame shown no later: frames shown before a key frame may lean on what came before it.
    entries = np.searchsorted(stamps, wanted, side="right") - 1
    if not clear or (np.diff(stamps) <= 0).any() or (entries < 0).any():
        return []
    order = np.argsort(timeline.stamps, kind="stable")
    places = order[np.searchsorted(timeline.stamps[order], wanted)]
    runs = []
    for entry in np.unique(entries):
        mine = np.flatnonzero(entries == entry)
        first = int(keys[entry])
        runs.append(
            _Run(
                first=first,
                key=int(stamps[entry]),
                seek=int(timeline.decoding[first]),
                until=wanted[mine[-1]],
                packets=int(places[mine].max()) - first + 1,
            )
        )
    return runs


def _enter(footage: Footage, run: _Run) -> Iterator[Packet[VideoStream]]:
    """The packets from a run's key frame on."""
    if footage.held is not None:
        footage.stream.codec_context.flush_buffers()
        yield from itertools.islice(footage.held, run.first, None)
        return
    footage.container.seek(run.seek, stream=footage.stream)
    passed, entered = 0, False
    for packet, stamp, _ in PacketReader(footage.container, footage.stream):
        if not entered:
            entered = packet.is_keyframe and stamp == run.key
            passed += 1
            astray = passed > _ASTRAY_SHARE * len(footage.timeline.stamps)
            if (packet.is_keyframe and stamp > run.key) or astray:
                raise _Astray
        if entered:
            yield packet
    if not entered:
        raise _Astray
