"""Read the packets of a video stream, continuing after read errors and repairing time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

MAX_FRAME_SECONDS = 60
"""A longer step between two frames is a broken clock, not a frame that is displayed that long."""

_MAX_BACKWARD_SECONDS = 1
"""Decoding times never decrease; a longer step back is a clock that was reset, as where recordings were joined."""

_MAX_FIRST_DTS = 2**50
"""Ticks; centuries for any usual time base."""

_MAX_READ_FAILURES = 16
"""Consecutive failed attempts to continue after a read error before the rest of the file counts as lost."""


class PacketReader:
    """Iterates over a stream's packets in file order, past read errors, with repaired time stamps."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self.time_base = stream.time_base or Fraction(1, 1000)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.frame_ticks = max(1, round(min(1 / rate, Fraction(MAX_FRAME_SECONDS)) / self.time_base))
        """Ticks from one frame to the next, according to the header."""
        self.errors: dict[str, None] = {}
        """Read errors so far, in order of appearance."""
        self.first_offset = 0
        """Byte offset of the first packet; 0 before it was read, and if the container does not give it."""
        self.empty_packets = 0
        """Packets without data so far: the previous frame stays on screen."""
        self.has_pts = True
        """Whether every packet so far has a pts of its own."""
        self.repaired = False
        """Whether a time stamp so far had to be corrected."""
        # AVI stores no pts: with frames out of order, FFmpeg's guess is wrong.
        self._ignore_pts = container.format.name == "avi" and stream.codec_context.has_b_frames
        self._min_step = -round(_MAX_BACKWARD_SECONDS / self.time_base)
        self._max_step = round(MAX_FRAME_SECONDS / self.time_base)
        self._shift = 0
        self._last_dts: int | None = None

    def __iter__(self) -> Iterator[tuple[Packet[VideoStream], int, int]]:
        """Yield each packet with its repaired pts and dts, which are also set on the packet."""
        failures = 0
        while failures < _MAX_READ_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        failures = 0
                        if packet.is_corrupt:
                            self.errors["damaged packets"] = None
                        if self._ignore_pts:
                            packet.pts = None
                        yield packet, *self._repair(packet)
                    elif packet.dts is not None:
                        self.empty_packets += 1
                return
            except av.error.FFmpegError as error:
                failures += 1
                self.errors[error.strerror or str(error)] = None

    def _repair(self, packet: Packet[VideoStream]) -> tuple[int, int]:
        """Return the packet's pts and dts, and set them on the packet if the stream's clock had to be corrected."""
        dts = self._repair_dts(packet)
        if packet.pts is None:
            # The packet stays without a pts: its decoder orders the frames at least as well.
            self.has_pts = False
            return dts, dts
        pts = packet.pts + self._shift
        if abs(pts - dts) > self._max_step:
            pts = dts
            self.repaired = True
        if self.repaired:
            packet.pts, packet.dts = pts, dts
        return pts, dts

    def _repair_dts(self, packet: Packet[VideoStream]) -> int:
        """Return the dts: a missing one follows the previous packet's, a jump of the clock becomes one frame."""
        last = self._last_dts
        dts = packet.dts if packet.dts is not None else packet.pts
        if dts is None:
            dts = 0 if last is None else last - self._shift + self.frame_ticks
        dts += self._shift
        if last is None:
            plausible = abs(dts) < _MAX_FIRST_DTS
            self.first_offset = max(0, packet.pos or 0)
        else:
            plausible = self._min_step <= dts - last <= self._max_step
        if not plausible:
            jump = (0 if last is None else last + self.frame_ticks) - dts
            self._shift += jump
            dts += jump
            self.repaired = True
        self._last_dts = dts
        return dts
