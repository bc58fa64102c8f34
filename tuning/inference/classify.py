"""Classify video files: clips, folders of clips, and long videos, which are cut into segments."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.dataset.video_files import VIDEO_SUFFIXES
from data.errors import DataError
from data.files import not_a_file
from data.quality.checked_clip import CheckedClip
from tuning.inference.champion import Champion
from tuning.inference.clip_length import LONG_FACTOR
from tuning.inference.segments import PredictedTimeline, Segment, find_segments, predict_timeline


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """A champion's prediction for a clip, or for a segment of a long video."""

    path: str
    start: float
    """Seconds; 0 for a clip."""
    end: float
    """Seconds; the duration of a clip."""
    probabilities: np.ndarray
    """float32 `(K,)`."""
    abstained: bool
    """Whether the probability of the most likely class is below the threshold."""
    is_segment: bool
    defects: tuple[str, ...]
    """Sorted names of the defects of the clip or of most of the segment, as `python -m data audit` reports them."""


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A path without a prediction."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileNote:
    """A note on a file that has predictions."""

    path: str
    text: str


FileResult = FilePrediction | UnreadableFile | FileNote


@dataclass(frozen=True, slots=True)
class LongVideoOptions:
    """Which videos are cut into segments, and how."""

    window: float | None
    """Length of a window in seconds, usually that of the training clips; None if that is unknown: then every file is
    classified as one clip."""
    hop: float | None = None
    """Seconds between the starts of two windows; default: half a window."""
    always: bool = False
    """Cut every video, however short."""

    def is_long(self, duration: float) -> bool:
        """Return whether a video of `duration` seconds is cut into segments."""
        return self.window is not None and (self.always or duration > LONG_FACTOR * self.window)


def find_videos(paths: Iterable[Path]) -> Iterator[Path | UnreadableFile]:
    """Yield each file, and for each folder all videos below it in order, without hidden ones."""
    for path in paths:
        # Path.is_dir raises for a name that is too long.
        if not os.path.isdir(path):
            yield path
            continue
        videos = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in VIDEO_SUFFIXES
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
            and file.is_file()
        )
        if not videos:
            yield UnreadableFile(str(path), "the folder contains no videos")
        yield from videos


def classify_files(
    champion: Champion,
    files: Iterable[Path | UnreadableFile],
    *,
    threshold: float,
    long_videos: LongVideoOptions,
    batch_size: int,
) -> Iterator[FileResult]:
    """Yield the results of files in order; an unreadable file does not stop the others.

    While a batch is computed, the next clips are decoded on all cores.

    Args:
        champion: the model.
        files: the output of `find_videos`.
        threshold: the champion abstains below this probability.
        long_videos: which videos are cut into segments.
        batch_size: clips per forward pass.
    """
    clips: list[tuple[Path, CheckedClip]] = []
    for file, clip in _decode_ahead(champion, files):
        if isinstance(clip, UnreadableFile) or long_videos.is_long(clip.facts.duration):
            yield from _classify_clips(champion, clips, threshold)
            clips = []
            if isinstance(clip, UnreadableFile):
                yield clip
            else:
                yield from _classify_long_video(champion, file, threshold, long_videos, batch_size)
            continue
        clips.append((file, clip))
        if len(clips) == batch_size:
            yield from _classify_clips(champion, clips, threshold)
            clips = []
    yield from _classify_clips(champion, clips, threshold)


def timeline_of_file(
    champion: Champion, file: Path, long_videos: LongVideoOptions, batch_size: int
) -> PredictedTimeline:
    """Return a champion's predictions on a video over time.

    Raises:
        DataError: the file can't be read, or the length of window or hop is not valid.
    """
    assert long_videos.window is not None
    if not os.path.isfile(file):
        raise DataError(not_a_file(file, "give one video file"))
    hop = long_videos.hop if long_videos.hop is not None else long_videos.window / 2
    return predict_timeline(champion, file, window=long_videos.window, hop=hop, batch_size=batch_size)


def segment_results(file: Path, timeline: PredictedTimeline, segments: Sequence[Segment]) -> list[FileResult]:
    """Return a video's segments as predictions, after a note if the video is damaged."""
    notes = [FileNote(str(file), timeline.damage)] if timeline.damage else []
    predictions = [
        FilePrediction(
            str(file),
            segment.start,
            segment.end,
            segment.probabilities,
            segment.abstained,
            is_segment=True,
            defects=segment.defects,
        )
        for segment in segments
    ]
    return [*notes, *predictions]


def _classify_long_video(
    champion: Champion, file: Path, threshold: float, long_videos: LongVideoOptions, batch_size: int
) -> Iterator[FileResult]:
    try:
        timeline = timeline_of_file(champion, file, long_videos, batch_size)
    except DataError as error:
        yield UnreadableFile(str(file), str(error))
        return
    duration = f"{timeline.edges[-1]:.0f} s"
    yield FileNote(str(file), f"{duration} long, cut into segments with windows of {timeline.window:.1f} s")
    yield from segment_results(file, timeline, find_segments(timeline, threshold))


def _classify_clips(
    champion: Champion, clips: Sequence[tuple[Path, CheckedClip]], threshold: float
) -> Iterator[FileNote | FilePrediction]:
    if not clips:
        return
    probabilities = champion.predict_probabilities([clip.frames for _, clip in clips])
    for (file, clip), row in zip(clips, probabilities, strict=True):
        if clip.facts.damage:
            yield FileNote(str(file), clip.facts.damage)
        abstained = bool(row.max() < threshold)
        defects = tuple(sorted(clip.defects))
        yield FilePrediction(str(file), 0.0, clip.facts.duration, row, abstained, is_segment=False, defects=defects)


def _decode_ahead(
    champion: Champion, files: Iterable[Path | UnreadableFile]
) -> Iterator[tuple[Path, CheckedClip | UnreadableFile]]:
    """Yield each file with the model's input, in order; a bounded number of files is decoded ahead by threads."""

    def decode(file: Path | UnreadableFile) -> tuple[Path, CheckedClip | UnreadableFile]:
        if isinstance(file, UnreadableFile):
            return Path(file.path), file
        try:
            return file, champion.read_clip(file)
        except DataError as error:
            return file, UnreadableFile(str(file), str(error))

    num_threads = os.cpu_count() or 1
    pending: deque[Future[tuple[Path, CheckedClip | UnreadableFile]]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for file in files:
                pending.append(pool.submit(decode, file))
                if len(pending) > 2 * num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
