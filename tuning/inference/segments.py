"""A long video cut into segments: which class from when to when."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from data.video.sliding_windows import SlidingWindows
from tuning.inference.champion import Champion

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VideoTimeline:
    """What a champion says of a video over time."""

    edges: np.ndarray
    """float64 `(N + 1,)`: seconds at which the N parts of the video begin and end."""
    probabilities: np.ndarray
    """float32 `(N, K)`: each part's, the mean over the windows that show it."""
    window: float
    """Seconds that the model sees at once."""
    damage: str
    """What of the video does not decode; empty if all does."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a video with one answer."""

    start: float
    """Seconds."""
    end: float
    probabilities: np.ndarray
    """float32 `(K,)`: the mean over its parts."""
    abstained: bool
    """Nothing in it is likely enough."""


def read_timeline(champion: Champion, file: Path, *, window: float, hop: float, batch: int) -> VideoTimeline:
    """Let a champion look at a video through a window that slides over it.

    While a batch of windows is computed the next is decoded; memory does not grow with the video.

    Args:
        champion: the model.
        file: the video.
        window: seconds that it sees at once.
        hop: seconds from a window to the next; also how finely segments are cut.
        batch: windows at once.

    Raises:
        DataError: the video can't be read, or the lengths can't be used.
    """
    video = champion.windows(file, window, hop)
    found = [champion.probabilities(clips) for clips in _ahead(_batches(champion, video, batch))]
    edges = np.append(np.arange(0, video.duration - 1e-6, hop), video.duration)
    return VideoTimeline(
        edges, _mean_by_part(np.concatenate(found), video.starts, video.seconds, edges), video.seconds, video.damage
    )


def cut(timeline: VideoTimeline, threshold: float) -> list[Segment]:
    """Neighbouring parts of one answer as one segment.

    Args:
        timeline: of the video.
        threshold: below this probability a part has no answer; neighbouring ones are one segment, too.
    """
    best = timeline.probabilities.argmax(1)
    answers = np.where(timeline.probabilities.max(1) >= threshold, best, -1)
    starts = [0, *(np.flatnonzero(np.diff(answers)) + 1).tolist(), len(answers)]
    lengths = np.diff(timeline.edges)
    return [
        Segment(
            start=float(timeline.edges[first]),
            end=float(timeline.edges[after]),
            probabilities=np.average(timeline.probabilities[first:after], axis=0, weights=lengths[first:after]).astype(
                np.float32
            ),
            abstained=bool(answers[first] < 0),
        )
        for first, after in itertools.pairwise(starts)
    ]


def _mean_by_part(found: np.ndarray, starts: np.ndarray, seconds: float, edges: np.ndarray) -> np.ndarray:
    """Windows' probabilities `(W, K)` to the parts', weighed by how much of the part each window shows."""
    parts = np.empty((len(edges) - 1, found.shape[1]), np.float32)
    firsts = np.searchsorted(starts + seconds, edges[:-1], side="right")
    afters = np.searchsorted(starts, edges[1:], side="left")
    for part, (first, after) in enumerate(zip(firsts, afters, strict=True)):
        shown = np.minimum(starts[first:after] + seconds, edges[part + 1]) - np.maximum(
            starts[first:after], edges[part]
        )
        parts[part] = np.average(found[first:after], axis=0, weights=shown)
    return parts


def _batches(champion: Champion, video: SlidingWindows, size: int) -> Iterator[list[torch.Tensor]]:
    clips: list[torch.Tensor] = []
    for window in video:
        clips.append(champion.see(window.frames))
        if len(clips) == size:
            yield clips
            clips = []
    if clips:
        yield clips


def _ahead(items: Iterable[T]) -> Iterator[T]:
    """The same, the next of them made by another thread while one is in use."""
    rest = iter(items)

    def following() -> tuple[T, ...]:
        return tuple(itertools.islice(rest, 1))

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(following)
        while item := coming.result():
            coming = thread.submit(following)
            yield item[0]
