"""Defects of one clip by itself, from the facts of its decoding and from its frames: for audits and for predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

import numpy as np

from data.quality.limits import Limits
from data.quality.motion import block_means, count_black_frames, largest_change, largest_shift

T = TypeVar("T")


class VideoFacts(Protocol):
    """Facts of a video file from which defects follow; `ClipFacts` and `SlidingWindows` have them."""

    @property
    def frames(self) -> int:
        """Number of frames."""

    @property
    def duration(self) -> float:
        """Seconds."""

    @property
    def sought(self) -> bool:
        """Whether the frames were sampled by seeking, so that `frames` counts a part of them."""

    @property
    def damage(self) -> str:
        """Description of the damage; empty without damage."""


def defects_of_clip(facts: VideoFacts, frames: np.ndarray, limits: Limits) -> dict[str, str]:
    """Return name and detail of the defects that a clip has by itself.

    Args:
        facts: of the file.
        frames: uint8 `(F, H, W, 3)`, equally spaced over the clip.
        limits: thresholds from which a clip is suspect.
    """
    return without_consequences(dict(defects_of_file(facts, limits)) | dict(defects_of_frames(frames, limits)))


def without_consequences(defects: Mapping[str, T]) -> dict[str, T]:
    """Return the defects, by name, except those that follow from another: one frame is always still and too short."""
    consequences = ("still", "too short") if "one frame" in defects else ()
    return {name: value for name, value in defects.items() if name not in consequences}


def defects_of_file(facts: VideoFacts, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield name and detail of the defects that the facts of a clip's decoding show."""
    if facts.damage:
        yield "truncated", facts.damage
    if facts.frames == 1 and not facts.sought:
        yield "one frame", "it has a single frame"
    if facts.duration < limits.min_seconds:
        yield "too short", f"it lasts {facts.duration:.2f} s, less than {limits.min_seconds:g} s"
    if facts.duration > limits.max_seconds:
        yield "too long", f"it lasts {facts.duration:.0f} s, more than {limits.max_seconds:g} s"


def defects_of_frames(frames: np.ndarray, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield name and detail of the defects that stored frames, uint8 `(F, H, W, 3)`, show.

    A single frame is never `still`.
    """
    blocks = block_means(frames)
    black = count_black_frames(blocks, limits.black_level)
    if black >= limits.black_share * len(frames):
        yield "black", f"{black} of the {len(frames)} stored frames are black"
    elif len(frames) > 1 and not _moves(frames, blocks, limits):
        yield "still", f"nothing moves in the {len(frames)} stored frames"


def _moves(frames: np.ndarray, blocks: np.ndarray, limits: Limits) -> bool:
    return largest_change(blocks) > limits.still_levels or largest_shift(frames) > limits.still_shift
