"""Cut a long video into segments: which class is shown from when to when."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from data.quality.clip_defects import defects_of_file, defects_of_frames, without_consequences
from data.quality.limits import Limits
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
    defects: dict[str, np.ndarray]
    """For each defect that the video or windows have, float32 `(N,)`: the share of each interval's windows with it."""


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
    defects: tuple[str, ...]
    """Names of the defects that most of the segment has."""


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
    probabilities: list[np.ndarray] = []
    defects: list[frozenset[str]] = []
    for batch in _compute_ahead(_batches(champion, video, batch_size)):
        probabilities.append(champion.predict_probabilities([clip for clip, _ in batch]))
        defects += [names for _, names in batch]
    edges = np.append(np.arange(0, video.duration - 1e-6, hop), video.duration)
    mean = _mean_per_interval(np.concatenate(probabilities), video.starts, video.seconds, edges)
    shares = _defect_shares(video, champion.limits, defects, edges)
    return PredictedTimeline(edges, mean, video.seconds, video.damage, shares)


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
        defects = [
            name
            for name, shares in timeline.defects.items()
            if np.average(shares[first:end], weights=durations[first:end]) >= 0.5
        ]
        abstained = bool(classes[first] < 0)
        segments.append(Segment(start, stop, mean.astype(np.float32), abstained, tuple(sorted(defects))))
    return segments


def _mean_per_interval(values: np.ndarray, starts: np.ndarray, seconds: float, edges: np.ndarray) -> np.ndarray:
    """Average the values of windows, `(W, K)`, over each interval, weighted by their overlap: float32 `(N, K)`."""
    means = np.empty((len(edges) - 1, values.shape[1]), np.float32)
    firsts = np.searchsorted(starts + seconds, edges[:-1], side="right")
    ends = np.searchsorted(starts, edges[1:], side="left")
    for interval, (first, end) in enumerate(zip(firsts, ends, strict=True)):
        window_ends = np.minimum(starts[first:end] + seconds, edges[interval + 1])
        overlap = window_ends - np.maximum(starts[first:end], edges[interval])
        means[interval] = np.average(values[first:end], axis=0, weights=overlap)
    return means


def _defect_shares(
    video: SlidingWindows, limits: Limits, windows: Sequence[frozenset[str]], edges: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the share of each interval that has a defect, for those of the video and those of its windows."""
    of_video = dict(defects_of_file(video, limits))
    # The windows are short, however long the video is.
    of_video.pop("too long", None)
    shares = {name: np.ones(len(edges) - 1, np.float32) for name in of_video}
    for name in {name for window in windows for name in window}:
        has_defect = np.array([[name in window] for window in windows], np.float32)
        shares[name] = _mean_per_interval(has_defect, video.starts, video.seconds, edges)[:, 0]
    return without_consequences(shares)


def _batches(
    champion: Champion, video: SlidingWindows, size: int
) -> Iterator[list[tuple[torch.Tensor, frozenset[str]]]]:
    """Yield batches of windows: the model's input, and the names of the defects that the frames show."""
    clips: list[tuple[torch.Tensor, frozenset[str]]] = []
    for window in video:
        defects = frozenset(name for name, _ in defects_of_frames(window.frames, champion.limits))
        clips.append((champion.window_input(window.frames), defects))
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
