"""When the frames of a video are displayed, according to its packets; headers often lie about duration and rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_MAX_GAP_SHARE = 0.2
"""If more of the steps between frames are long, the frame rate is variable and long steps are not gaps."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Time stamps of a video stream's N packets and P displayed frames, in ticks of `time_base`."""

    time_base: Fraction
    """Seconds of a tick."""
    pts: np.ndarray
    """int64 `(N,)`: each packet's presentation time stamp, in file order."""
    dts: np.ndarray
    """int64 `(N,)`: each packet's decoding time stamp."""
    keyframes: np.ndarray
    """bool `(N,)`: whether decoding can start at the packet."""
    displayed: np.ndarray
    """int64 `(P,)`: the sorted, distinct pts of the displayed frames; an edit list can hide some packets."""
    num_displayed: int
    """Packets that are displayed; more than P if some share a pts."""
    end: int
    """When the last frame ends."""
    has_pts: bool
    """Whether every packet has a pts of its own, so that a frame can be identified by it."""
    repaired: bool
    """Whether a time stamp had to be corrected, so that seeking by time is unreliable."""

    @property
    def seconds(self) -> float:
        """Duration from the first frame to the end of the last."""
        return float((self.end - int(self.displayed[0])) * self.time_base)

    @property
    def variable_rate(self) -> bool:
        """Whether the steps between frames differ by more than rounding to ticks or milliseconds explains."""
        steps = np.diff(self.displayed)
        rounding = max(0.0025, 1.5 * float(self.time_base))
        return len(steps) > 1 and float(steps.max() - steps.min()) * float(self.time_base) > rounding

    @property
    def missing_frames(self) -> int:
        """Frames that are missing between the first and the last, if the rate is constant."""
        steps = np.diff(self.displayed)
        usual = np.median(steps) if len(steps) else 0
        long = steps[steps > 1.5 * usual]
        return int(np.round(long / usual - 1).sum()) if len(long) <= _MAX_GAP_SHARE * len(steps) else 0

    def displayed_at(self, ticks: np.ndarray) -> np.ndarray:
        """Return the pts of the frame on screen at each time: int64, of the same shape.

        Args:
            ticks: float, any shape; times before the first frame give the first frame.
        """
        return self.displayed[np.maximum(np.searchsorted(self.displayed, ticks, side="right") - 1, 0)]

    def sample_pts(self, count: int) -> np.ndarray:
        """Return the pts of the frames on screen at the centres of `count` equal spans: int64 `(count,)`."""
        start = int(self.displayed[0])
        return self.displayed_at(start + (np.arange(count) + 0.5) / count * (self.end - start))
