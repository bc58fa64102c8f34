"""Scan a video: read all packets of its stream once, without decoding, to learn its time stamps and its damage."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from data.video.container import UnusableClipError, demuxer_errors
from data.video.packet_reader import MAX_FRAME_SECONDS, PacketReader
from data.video.timeline import Timeline

_MAX_HELD_BYTES = 64 * 2**20
_MAX_HELD_PACKETS = 10_000
"""Packets are held in memory so that a usual clip is read only once; larger videos are read again to decode them."""

_MAX_DEMUXER_ERRORS = 3
"""Demuxer messages to report; a corrupt file can cause many."""


@dataclass(frozen=True, slots=True)
class ScannedVideo:
    """An open video whose packets were all read, and none decoded."""

    path: Path
    container: InputContainer
    """Read to its end."""
    stream: VideoStream
    timeline: Timeline
    packets: list[Packet[VideoStream]] | None
    """The stream's packets in file order, or None if they are too large to hold."""
    errors: tuple[str, ...]
    """Read errors; if there are none, the demuxer's first messages."""
    all_errors: tuple[str, ...]
    """All read errors and all demuxer messages."""
    first_offset: int
    """Byte offset of the first packet; 0 if the container does not give it."""
    empty_packets: int
    """Packets without data: the previous frame stays on screen."""


def scan_video(path: Path, container: InputContainer, stream: VideoStream) -> ScannedVideo:
    """Read all packets of a stream.

    Args:
        path: the video file.
        container: just opened, see `container.open_video`.
        stream: the stream of it to read.

    Raises:
        UnusableClipError: the stream has no packets.
    """
    reader = PacketReader(container, stream)
    with demuxer_errors(container) as messages:
        timeline, packets = _read_packets(reader)
    errors = tuple(reader.errors) or tuple(messages[:_MAX_DEMUXER_ERRORS])
    if timeline is None:
        raise UnusableClipError("unreadable", ": ".join(["it has no video packets", *errors]))
    return ScannedVideo(
        path=path,
        container=container,
        stream=stream,
        timeline=timeline,
        packets=packets,
        errors=errors,
        all_errors=(*reader.errors, *messages),
        first_offset=reader.first_offset,
        empty_packets=reader.empty_packets,
    )


def _read_packets(reader: PacketReader) -> tuple[Timeline | None, list[Packet[VideoStream]] | None]:
    """Return the timeline, None without a displayed packet, and the packets, None if too large to hold."""
    all_pts, all_dts, keyframes, hidden = array("q"), array("q"), array("b"), array("b")
    packets: list[Packet[VideoStream]] | None = []
    size, last_pts, last_ticks = 0, None, 0
    for packet, pts, dts in reader:
        all_pts.append(pts)
        all_dts.append(dts)
        keyframes.append(packet.is_keyframe)
        hidden.append(packet.is_discard)
        if not packet.is_discard and (last_pts is None or pts >= last_pts):
            last_pts, last_ticks = pts, packet.duration or 0
        size += packet.size
        if packets is not None:
            packets.append(packet)
            if size > _MAX_HELD_BYTES or len(packets) > _MAX_HELD_PACKETS:
                packets = None
    is_displayed = np.frombuffer(hidden, np.int8) == 0
    if not is_displayed.any():
        return None, packets
    pts_array = np.frombuffer(all_pts, np.int64)
    displayed = np.unique(pts_array[is_displayed])
    if not 0 < last_ticks <= MAX_FRAME_SECONDS / reader.time_base:
        last_ticks = int(np.median(np.diff(displayed))) if len(displayed) > 1 else reader.frame_ticks
    timeline = Timeline(
        time_base=reader.time_base,
        pts=pts_array,
        dts=np.frombuffer(all_dts, np.int64),
        keyframes=np.frombuffer(keyframes, np.int8) != 0,
        displayed=displayed,
        num_displayed=int(is_displayed.sum()),
        end=int(displayed[-1]) + last_ticks,
        has_pts=reader.has_pts,
        repaired=reader.repaired,
    )
    return timeline, packets
