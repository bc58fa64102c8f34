"""When a video's pictures are shown, as its packets tell: headers lie about duration, rate and count."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

_LONGEST_STEP = 60
"""Seconds; a longer one between two pictures is a broken clock, not a picture that stands so long."""

_LONGEST_STEP_BACK = 1
"""Seconds; decoding times only grow, so a longer one is a clock that was set anew (joined recordings)."""

_MOST_GAPS = 0.2
"""Share of long steps from which on the rate is not constant but varies."""

_LATEST_STAMP = 2**50
"""Ticks; centuries in any usual clock."""

_HELD_BYTES = 64 * 2**20
_HELD_PACKETS = 10_000
"""Packets are kept for decoding, so that a usual clip is read once; of more than these only their numbers are."""

_READ_FAILURES = 16
"""Attempts in a row to read on after an error of the container before the rest counts as lost."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The pictures of a video stream; all times in ticks of `time_base`."""

    time_base: Fraction
    stamps: np.ndarray
    """int64 `(N,)`: when each packet's picture is shown, in the order of the file."""
    decoding: np.ndarray
    """int64 `(N,)`: each packet's decoding time stamp."""
    keys: np.ndarray
    """bool `(N,)`: decoding can start at this packet."""
    shown: np.ndarray
    """int64 `(P,)`: the stamps of the pictures that are shown, sorted; edit lists hide some packets."""
    packets: int
    """Packets whose picture is shown."""
    end: int
    """When the last picture ends."""
    stamped: bool
    """Every packet says when its picture is shown, so that a frame can be found by its stamp."""
    sound: bool
    """No stamp had to be mended, so that a place can be found by seeking."""

    @property
    def seconds(self) -> float:
        """From the first picture to the end of the last."""
        return float((self.end - int(self.shown[0])) * self.time_base)

    @property
    def varies(self) -> bool:
        """Whether the steps between pictures differ by more than the rounding of stamps, to ticks or milliseconds."""
        steps = np.diff(self.shown)
        rounding = max(0.0025, 1.5 * float(self.time_base))
        return len(steps) > 1 and float(steps.max() - steps.min()) * float(self.time_base) > rounding

    @property
    def gaps(self) -> int:
        """Pictures that a video of constant rate lacks between its first and its last."""
        steps = np.diff(self.shown)
        usual = np.median(steps) if len(steps) else 0
        long = steps[steps > 1.5 * usual]
        return int(np.round(long / usual - 1).sum()) if len(long) <= _MOST_GAPS * len(steps) else 0

    def sample(self, count: int) -> np.ndarray:
        """Stamps of the pictures on screen at `count` instants, the middles of equal spans: int64 `(count,)`."""
        start = int(self.shown[0])
        instants = start + (np.arange(count) + 0.5) / count * (self.end - start)
        return self.shown[np.maximum(np.searchsorted(self.shown, instants, side="right") - 1, 0)]


class PacketReader:
    """A stream's packets in the order of the file, read past broken places, their time stamps mended."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self.time_base = stream.time_base or Fraction(1, 1000)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.step = max(1, round(min(1 / rate, Fraction(_LONGEST_STEP)) / self.time_base))
        """Ticks between two pictures, as the header says."""
        self.losses: dict[str, None] = {}
        """What could not be read so far, in the order of appearance."""
        self.first_byte = 0
        """Where the first packet lies in the file; 0 before, and where the container does not say."""
        self.empty = 0
        """Packets without data so far: the picture before them stays on."""
        self.stamped = True
        """Every packet so far says when its picture is shown."""
        self.sound = True
        """No stamp so far had to be mended."""
        # AVI keeps no time of showing: with frames out of order, FFmpeg's guess at one is wrong.
        self._guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
        self._earliest_step = -round(_LONGEST_STEP_BACK / self.time_base)
        self._latest_step = round(_LONGEST_STEP / self.time_base)
        self._shift = 0
        self._last: int | None = None

    def __iter__(self) -> Iterator[tuple[Packet[VideoStream], int, int]]:
        """Each packet with the stamps at which its picture is shown and decoded; the packet's own are mended too."""
        failures = 0
        while failures < _READ_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        failures = 0
                        if packet.is_corrupt:
                            self.losses["damaged packets"] = None
                        if self._guessed:
                            packet.pts = None
                        yield packet, *self._mend(packet)
                    elif packet.dts is not None:
                        self.empty += 1
                return
            except av.error.FFmpegError as error:
                failures += 1
                self.losses[error.strerror or str(error)] = None

    def _mend(self, packet: Packet[VideoStream]) -> tuple[int, int]:
        """Missing stamps follow from the one before; jumps of the clock become one ordinary step."""
        decoding = packet.dts if packet.dts is not None else packet.pts
        if decoding is None:
            decoding = 0 if self._last is None else self._last - self._shift + self.step
        decoding += self._shift
        if self._last is None:
            on_time = abs(decoding) < _LATEST_STAMP
        else:
            on_time = self._earliest_step <= decoding - self._last <= self._latest_step
        if not on_time:
            jump = (0 if self._last is None else self._last + self.step) - decoding
            self._shift += jump
            decoding += jump
            self.sound = False
        if self._last is None:
            self.first_byte = max(0, packet.pos or 0)
        self._last = decoding
        if packet.pts is None:
            # The packet stays without: its decoder knows no better which frame comes next.
            self.stamped = False
            return decoding, decoding
        shown = packet.pts + self._shift
        if abs(shown - decoding) > self._latest_step:
            shown = decoding
            self.sound = False
        if not self.sound:
            packet.pts, packet.dts = shown, decoding
        return shown, decoding


def read_timeline(reader: PacketReader) -> tuple[Timeline | None, list[Packet[VideoStream]] | None]:
    """Read all of a stream's packets.

    Args:
        reader: of a container just opened.

    Returns:
        The timeline (None without a packet), and the packets (None where they are too much to hold).
    """
    stamps, decoding, keys, hidden = array("q"), array("q"), array("b"), array("b")
    held: list[Packet[VideoStream]] | None = []
    size, last, last_length = 0, None, 0
    for packet, shown_at, decoded_at in reader:
        stamps.append(shown_at)
        decoding.append(decoded_at)
        keys.append(packet.is_keyframe)
        hidden.append(packet.is_discard)
        if not packet.is_discard and (last is None or shown_at >= last):
            last, last_length = shown_at, packet.duration or 0
        size += packet.size
        if held is not None:
            held.append(packet)
            if size > _HELD_BYTES or len(held) > _HELD_PACKETS:
                held = None
    seen = np.frombuffer(hidden, np.int8) == 0
    if not seen.any():
        return None, held
    order = np.frombuffer(stamps, np.int64)
    shown = np.unique(order[seen])
    step = int(np.median(np.diff(shown))) if len(shown) > 1 else reader.step
    if not 0 < last_length <= _LONGEST_STEP / reader.time_base:
        last_length = step
    timeline = Timeline(
        time_base=reader.time_base,
        stamps=order,
        decoding=np.frombuffer(decoding, np.int64),
        keys=np.frombuffer(keys, np.int8) != 0,
        shown=shown,
        packets=int(seen.sum()),
        end=int(shown[-1]) + last_length,
        stamped=reader.stamped,
        sound=reader.sound,
    )
    return timeline, held
