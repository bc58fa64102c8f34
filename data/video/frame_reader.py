"""Read the frames of a video at requested times, decoding only what they depend on where that is safe.

Frames that no requested frame depends on are skipped: frames that no other frame references, and, within a group of
pictures (GOP, the packets from one key frame to the next), all after its last requested frame. This yields the same
pixels as decoding everything. At the first irregularity every frame is decoded and counted instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import av.error
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from data.video.container import choose_video_stream, open_container
from data.video.frame_collector import FrameCollector
from data.video.frame_converter import FrameConverter
from data.video.packet_reader import PacketReader
from data.video.scan import ScannedVideo
from data.video.timeline import Timeline

_LONG_VIDEO_PACKETS = 1500
"""A minute at 25 frames per second. Decoding more takes seconds, so long videos are sampled by seeking."""

_MAX_SEEK_SHARE = 0.75
"""Seek only if that decodes at most this share of the packets: seeking through all of a video takes a sixth longer than
reading it from start to end."""

_MAX_MISSED_SHARE = 0.25
"""A container that seeks to a position further than this share of the packets before a key frame can't seek."""


@dataclass(frozen=True, slots=True)
class _Gop:
    """The part of a GOP that has to be decoded for the frames requested from it."""

    first: int
    """Index of the key packet, in file order."""
    pts: int
    """The key frame's pts."""
    dts: int
    """The key frame's dts: seek by it, since containers indexed by pts then go to an earlier key frame."""
    last_pts: int
    """The pts of the last requested frame."""
    num_packets: int
    """From the key packet to that of the last requested frame."""


class _SeekError(Exception):
    """Seeking did not lead to the requested key frame."""


def read_frames(
    video: ScannedVideo, requested: list[int], converter: FrameConverter, *, intact: bool
) -> FrameCollector:
    """Decode the frames at the requested times.

    Args:
        video: with nothing decoded yet.
        requested: pts of displayed frames, ascending, with repetitions.
        converter: of the stream.
        intact: whether no damage was found when the packets were read; otherwise nothing is skipped unless the video
            is long.
    """
    timeline = video.timeline
    gops = _plan_gops(timeline, requested)
    num_planned = sum(gop.num_packets for gop in gops)
    seeking = timeline.num_displayed >= _LONG_VIDEO_PACKETS and num_planned <= _MAX_SEEK_SHARE * len(timeline.pts)
    by_gop = bool(gops) and (seeking or (video.packets is not None and intact))
    if by_gop:
        for skip_unneeded in (True, False) if seeking else (True,):
            collector = FrameCollector(requested, converter, timeline, skip_unneeded=skip_unneeded, seeking=seeking)
            if _decode_gops(video, gops, collector) and collector.is_final():
                return collector
    can_skip = not by_gop and intact and timeline.has_pts and len(timeline.displayed) == timeline.num_displayed
    for skip_unneeded in (True, False) if can_skip else (False,):
        collector = FrameCollector(requested, converter, timeline, skip_unneeded=skip_unneeded, seeking=False)
        _decode_all(video, collector)
        if collector.is_final():
            break
    return collector


def _decode_all(video: ScannedVideo, collector: FrameCollector) -> None:
    """Decode from the first packet to the last."""
    if video.packets is not None:
        codec = video.stream.codec_context
        codec.flush_buffers()
        codec.skip_frame = "DEFAULT"
        collector.decode_packets(codec, video.packets)
        return
    with open_container(video.path) as container:
        stream = choose_video_stream(container)
        assert stream is not None
        collector.decode_packets(stream.codec_context, (packet for packet, _, _ in PacketReader(container, stream)))


def _decode_gops(video: ScannedVideo, gops: list[_Gop], collector: FrameCollector) -> bool:
    """Decode some GOPs; return False if seeking failed or nothing should have been skipped."""
    codec = video.stream.codec_context
    codec.skip_frame = "DEFAULT"
    try:
        for gop in gops:
            collector.decode_packets(codec, _packets_from(video, gop), gop.last_pts)
            if collector.skip_unneeded and collector.must_decode_all:
                return False
    except (_SeekError, av.error.FFmpegError):
        return False
    return True


def _plan_gops(timeline: Timeline, requested: list[int]) -> list[_Gop]:
    """Return the GOPs to decode for the requested frames; none if the time stamps are not reliable."""
    key_packets = np.flatnonzero(timeline.keyframes)
    key_pts = timeline.pts[key_packets]
    distinct = timeline.has_pts and len(timeline.displayed) == timeline.num_displayed
    # A frame belongs to the last key frame displayed no later: frames displayed before a key frame can depend on the
    # GOP before it.
    gop_of = np.searchsorted(key_pts, requested, side="right") - 1
    if not distinct or timeline.repaired or (np.diff(key_pts) <= 0).any() or (gop_of < 0).any():
        return []
    order = np.argsort(timeline.pts, kind="stable")
    packet_of = order[np.searchsorted(timeline.pts[order], requested)]
    gops = []
    for number in np.unique(gop_of):
        members = np.flatnonzero(gop_of == number)
        first = int(key_packets[number])
        gops.append(
            _Gop(
                first=first,
                pts=int(key_pts[number]),
                dts=int(timeline.dts[first]),
                last_pts=requested[members[-1]],
                num_packets=int(packet_of[members].max()) - first + 1,
            )
        )
    return gops


def _packets_from(video: ScannedVideo, gop: _Gop) -> Iterator[Packet[VideoStream]]:
    """Yield the packets from a GOP's key frame on.

    Raises:
        _SeekError: the key frame was not found.
    """
    if video.packets is not None:
        video.stream.codec_context.flush_buffers()
        yield from itertools.islice(video.packets, gop.first, None)
        return
    video.container.seek(gop.dts, stream=video.stream)
    num_skipped, found = 0, False
    for packet, pts, _ in PacketReader(video.container, video.stream):
        if not found:
            found = packet.is_keyframe and pts == gop.pts
            num_skipped += 1
            too_early = num_skipped > _MAX_MISSED_SHARE * len(video.timeline.pts)
            if (packet.is_keyframe and pts > gop.pts) or too_early:
                raise _SeekError
        if found:
            yield packet
    if not found:
        raise _SeekError
