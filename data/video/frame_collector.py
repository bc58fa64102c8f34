"""Decode packets and collect the frames on screen at requested times."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import av.error
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.video.frame_converter import FrameConverter
from data.video.timeline import Timeline


class FrameCollector:
    """Collects, for each requested time, the frame that is then on screen, as RGB.

    A frame that FFmpeg marks as partly concealed is used only if none precedes it. Frames predicted from a concealed
    one look smeared up to the next key frame; nothing distinguishes them from intact frames, so they are used.
    """

    def __init__(
        self, requested: list[int], converter: FrameConverter, timeline: Timeline, *, skip_unneeded: bool, seeking: bool
    ) -> None:
        """Create a collector.

        Args:
            requested: pts of displayed frames, ascending, with repetitions.
            converter: of the stream.
            timeline: of the stream.
            skip_unneeded: don't decode frames that are neither requested nor referenced by others.
            seeking: most of a long video is not read.
        """
        self.requested = requested
        self.skip_unneeded = skip_unneeded
        self.seeking = seeking
        self.num_decoded = 0
        """Intact frames that the decoder returned."""
        self.num_lost = 0
        """Packets that the decoder rejected, and frames that it concealed in part."""
        self.num_exact = 0
        """Requested times whose own frame was decoded, rather than an earlier one."""
        self.errors: dict[str, None] = {}
        """Decoding errors, in order of appearance."""
        self.interlaced = False
        self.first_frame: VideoFrame | None = None
        self.first_pts = 0
        self.last_pts = int(timeline.displayed[0]) - 1
        """The pts of the last decoded frame."""
        self._displayed = timeline.displayed
        self._converter = converter
        self._num_collected = 0
        self._collected: list[np.ndarray] = []
        self._on_screen: VideoFrame | None = None
        self._on_screen_since = 0
        self._on_screen_rgb: np.ndarray | None = None

    @property
    def must_decode_all(self) -> bool:
        """Whether an error or a field requires every frame to be decoded, so that none may be skipped."""
        return bool(self.errors) or self.interlaced

    def is_final(self) -> bool:
        """Return whether, with all packets decoded, decoding more of them could not improve the result."""
        if self.first_frame is None or (self.skip_unneeded and self.must_decode_all):
            return False
        self.finish()
        return len(self.requested) == self.num_exact or (not self.skip_unneeded and bool(self.errors))

    def decode_packets(
        self, codec: VideoCodecContext, packets: Iterable[Packet[VideoStream]], until: int | None = None
    ) -> None:
        """Decode packets to the end, or until the frame with pts `until` is decoded."""
        needed = set(self.requested)
        for packet in packets:
            if self.skip_unneeded:
                # Decode the first frame: it shows whether the video is interlaced, and fields must not be separated.
                can_skip = self.first_frame is not None and packet.pts not in needed
                codec.skip_frame = "NONREF" if can_skip else "DEFAULT"
            self._decode(codec, packet)
            if (self.skip_unneeded and self.must_decode_all) or (until is not None and self.last_pts >= until):
                return
        self._decode(codec, None)

    def iter_frames(self, codec: VideoCodecContext, packets: Iterable[Packet[VideoStream]]) -> Iterator[np.ndarray]:
        """Decode packets and yield the frame for each requested time as soon as it is known, without keeping it.

        Stops reading packets after the last requested frame. Yields nothing if no frame decodes.
        """
        for packet in itertools.chain(packets, (None,)):
            self._decode(codec, packet)
            yield from self._collected
            self._collected.clear()
            if self._num_collected == len(self.requested):
                return
        if self.first_frame is not None:
            yield from self.finish()
            self._collected.clear()

    def finish(self) -> list[np.ndarray]:
        """Return a frame, uint8 `(H, W, 3)`, for each requested time; at least one frame must have been decoded."""
        while self._num_collected < len(self.requested):
            self._collect()
        return self._collected

    def _decode(self, codec: VideoCodecContext, packet: Packet[VideoStream] | None) -> None:
        try:
            for frame in codec.decode(packet):
                self._add(frame)
        except av.error.FFmpegError as error:
            self.errors[error.strerror or str(error)] = None
            self.num_lost += 1

    def _add(self, frame: VideoFrame) -> None:
        pts = frame.pts if frame.pts is not None and frame.pts > self.last_pts else self._next_pts()
        self.last_pts = pts
        self.interlaced |= frame.interlaced_frame
        if frame.is_corrupt:
            self.errors["damaged pictures"] = None
            self.num_lost += 1
            if self._on_screen is not None:
                return
        else:
            self.num_decoded += 1
        if self._on_screen is None:
            self.first_frame, self.first_pts = frame, pts
        else:
            while self._num_collected < len(self.requested) and self.requested[self._num_collected] < pts:
                self._collect()
        self._on_screen, self._on_screen_rgb, self._on_screen_since = frame, None, pts

    def _next_pts(self) -> int:
        """Return the pts after the last one: decoders return frames in display order, whatever their time stamps."""
        after = int(np.searchsorted(self._displayed, self.last_pts, side="right"))
        return int(self._displayed[min(after, len(self._displayed) - 1)])

    def _collect(self) -> None:
        """Use the frame on screen for the next requested time."""
        assert self._on_screen is not None
        if self._on_screen_rgb is None:
            self._on_screen_rgb = self._converter(self._on_screen)
        self.num_exact += self._on_screen_since == self.requested[self._num_collected]
        self._num_collected += 1
        self._collected.append(self._on_screen_rgb)
