"""Cut a long video into segments: which class is shown from when to when."""

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
class PredictedTimeline:
    """A champion's predictions on a video over time."""

    edges: np.ndarray
    """float64 `(N + 1,)`: seconds at which the N intervals of the video start and end."""
    probabilities: np.ndarray
    """float32 `(N, K)`: for each interval the mean over the windows that overlap it."""
    window: float
    """Length of a window in seconds."""
    damage: str
    """Which parts of the video don't decode; empty if all do."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a video with one prediction."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    probabilities: np.ndarray
    """float32 `(K,)`: the mean over its intervals."""
    abstained: bool
    """Whether no class reaches the threshold."""


def predict_timeline(
    champion: Champion, file: Path, *, window: float, hop: float, batch_size: int
) -> PredictedTimeline:
    """Predict the classes in a video with a sliding window.

    While a batch of windows is computed, the next one is decoded. Memory does not grow with the video's length.

    Args:
        champion: the model.
        file: the video.
        window: length of a window in seconds.
        hop: seconds between the starts of two windows, and length of an interval of the timeline.
        batch_size: windows per forward pass.

    Raises:
        DataError: the video can't be read, or `window` or `hop` is not valid.
    """
    video = champion.open_windows(file, window, hop)
    batches = _compute_ahead(_batches(champion, video, batch_size))
    probabilities = np.concatenate([champion.predict_probabilities(clips) for clips in batches])
    edges = np.append(np.arange(0, video.duration - 1e-6, hop), video.duration)
    mean = _mean_per_interval(probabilities, video.starts, video.seconds, edges)
    return PredictedTimeline(edges, mean, video.seconds, video.damage)


def find_segments(timeline: PredictedTimeline, threshold: float) -> list[Segment]:
    """Merge adjacent intervals with the same most likely class.

    Args:
        timeline: the predictions on a video.
        threshold: intervals whose highest probability is below it have no class; adjacent ones are merged, too.
    """
    best = timeline.probabilities.argmax(1)
    classes = np.where(timeline.probabilities.max(1) >= threshold, best, -1)
    bounds = [0, *(np.flatnonzero(np.diff(classes)) + 1).tolist(), len(classes)]
    durations = np.diff(timeline.edges)
    segments = []
    for first, end in itertools.pairwise(bounds):
        mean = np.average(timeline.probabilities[first:end], axis=0, weights=durations[first:end])
        start, stop = float(timeline.edges[first]), float(timeline.edges[end])
        segments.append(Segment(start, stop, mean.astype(np.float32), abstained=bool(classes[first] < 0)))
    return segments


def _mean_per_interval(probabilities: np.ndarray, starts: np.ndarray, seconds: float, edges: np.ndarray) -> np.ndarray:
    """Average windows' probabilities `(W, K)` over each interval, weighted by their overlap: float32 `(N, K)`."""
    means = np.empty((len(edges) - 1, probabilities.shape[1]), np.float32)
    firsts = np.searchsorted(starts + seconds, edges[:-1], side="right")
    ends = np.searchsorted(starts, edges[1:], side="left")
    for interval, (first, end) in enumerate(zip(firsts, ends, strict=True)):
        window_ends = np.minimum(starts[first:end] + seconds, edges[interval + 1])
        overlap = window_ends - np.maximum(starts[first:end], edges[interval])
        means[interval] = np.average(probabilities[first:end], axis=0, weights=overlap)
    return means


def _batches(champion: Champion, video: SlidingWindows, size: int) -> Iterator[list[torch.Tensor]]:
    clips: list[torch.Tensor] = []
    for window in video:
        clips.append(champion.window_input(window.frames))
        if len(clips) == size:
            yield clips
            clips = []
    if clips:
        yield clips


def _compute_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the same items; a thread computes the next one while the caller uses one."""
    rest = iter(items)

    def take_one() -> tuple[T, ...]:
        return tuple(itertools.islice(rest, 1))

    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(take_one)
        while item := future.result():
            future = thread.submit(take_one)
            yield item[0]
