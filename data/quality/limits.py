"""Thresholds from which a clip is suspect."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from data.errors import DataError


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds from which a clip is suspect. The defaults for `still` and `black` were chosen by viewing clips."""

    min_seconds: float = 0.5
    """A shorter clip is `too short`."""

    max_seconds: float = 60.0
    """A longer clip is `too long`."""

    black_level: float = 24.0
    """0 to 255: a frame is black if hardly any of it is brighter than this in any colour. Video black is 0 or 16."""

    black_share: float = 0.8
    """A clip is `black` if at least this share of its frames is. A clip that fades in is not."""

    still_levels: float = 12.0
    """0 to 255: something moves if the brightness of a small block changes by more than this. Compression changes it by
    up to 10."""

    still_shift: float = 0.05
    """Stored pixels: something moves if a part of the picture shifts by more than this. At a short side of 128, a trunk
    that moves by 4 of 720 lines in breathing measures 0.26 and more, a strongly compressed photograph up to 0.04."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"the limit {field.name} is {value}; give a number of 0 or more")
        if self.min_seconds >= self.max_seconds:
            raise DataError(
                f"no clip is at least {self.min_seconds:g} s and at most {self.max_seconds:g} s long; "
                "give a shortest length below the longest"
            )
        if self.black_level >= 255 or self.still_levels >= 255:
            raise DataError("black_level and still_levels must be below 255, the highest brightness")
        if not 0 < self.black_share <= 1:
            raise DataError(f"the limit black_share is {self.black_share:g}; give a number above 0 and at most 1")
