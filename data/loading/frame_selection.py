"""Selection of the frames of a clip that a model takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.errors import DataError

SELECTIONS = ("uniform", "dense")
"""`uniform`: frames spread over the whole clip. `dense`: every `stride`-th stored frame of one part of it."""


@dataclass(frozen=True, slots=True)
class FrameSelection:
    """How to select `num_frames` of a clip's stored frames.

    Uniform: one frame of each of `num_frames` equal segments (TSN, arXiv 1608.00859), at random in training and the
    middle one in evaluation; with `min_span` below 1, the segments divide a random part of the clip in training. Dense:
    a window of frames `stride` apart, at random in training and in the middle of the clip in evaluation (C3D, arXiv
    1412.0767, takes 16 frames at stride 1). Both can evaluate several views of a clip: uniform views are shifted within
    the segments, dense views are spread evenly over the clip.
    """

    num_frames: int
    kind: str = "uniform"
    """One of SELECTIONS."""
    stride: int = 1
    """Distance of a dense window's frames, in stored frames."""
    min_span: float = 1.0
    """Smallest part of a clip's duration that uniform training frames cover; a smaller part plays more slowly."""

    def __post_init__(self) -> None:
        if self.kind not in SELECTIONS:
            raise DataError(f"the frame selection is {self.kind!r}; give one of {', '.join(SELECTIONS)}")
        if self.kind == "dense" and self.min_span != 1:
            raise DataError(f"min_span ({self.min_span:g}) has no effect on dense frames, whose span is fixed")

    @property
    def span(self) -> int:
        """Number of stored frames that a clip must have."""
        return (self.num_frames - 1) * self.stride + 1 if self.kind == "dense" else 1

    def train_indices(self, stored: int, rng: np.random.Generator) -> np.ndarray:
        """Return random indices of frames in ascending order, int64 `(num_frames,)`, each in `[0, stored)`.

        Raises:
            DataError: a dense window is longer than the clip's stored frames.
        """
        if self.kind == "dense":
            return self._window(int(rng.integers(self._num_windows(stored))))
        offsets = rng.random(self.num_frames)
        part = rng.uniform(self.min_span, 1.0) if self.min_span < 1 else 1.0
        return self._segments(stored, offsets, part, rng.uniform(0.0, 1.0 - part) if part < 1 else 0.0)

    def eval_indices(self, stored: int, view: int = 0, views: int = 1) -> np.ndarray:
        """Return the fixed indices of one of `views` views in ascending order, as `train_indices`.

        Raises:
            DataError: a dense window is longer than the clip's stored frames.
        """
        assert 0 <= view < views
        offset = (view + 0.5) / views
        if self.kind == "dense":
            return self._window(int(offset * self._num_windows(stored)))
        return self._segments(stored, np.full(self.num_frames, offset))

    def _segments(self, stored: int, offsets: np.ndarray, part: float = 1.0, start: float = 0.0) -> np.ndarray:
        """Return an index in each segment; offsets, part and start are fractions of segments and of the clip."""
        length = part * stored / self.num_frames
        indices = (start * stored + (np.arange(self.num_frames) + offsets) * length).astype(np.int64)
        return np.minimum(indices, stored - 1)

    def _window(self, start: int) -> np.ndarray:
        return start + np.arange(self.num_frames, dtype=np.int64) * self.stride

    def _num_windows(self, stored: int) -> int:
        if self.span > stored:
            raise DataError(
                f"{self.num_frames} frames at stride {self.stride} span {self.span} stored frames, but a clip has "
                f"{stored}; store more frames per clip, or lower the stride"
            )
        return stored - self.span + 1
