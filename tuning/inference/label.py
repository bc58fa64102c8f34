"""Labels for files that nobody has labelled: clips, whole folders of them, and long videos."""

from __future__ import annotations

import os
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.dataset.clips import VIDEO_SUFFIXES
from data.dataset.splits import read_split
from data.errors import DataError
from data.loading.model_input import ModelInput
from data.video.sliding_windows import video_duration
from tuning.config.run_folder import RunFolder
from tuning.inference.champion import Champion
from tuning.inference.segments import Segment, VideoTimeline, cut, read_timeline

LONG = 3
"""A video this many times as long as the training's clips is cut into segments."""

_MOST_MEASURED = 64
"""Training clips whose length is looked at; their median is what counts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a champion says of a clip, or of a segment of a long video."""

    path: str
    start: float
    """Seconds; 0 of a clip."""
    end: float
    """Seconds; a clip's length."""
    probabilities: np.ndarray
    """float32 `(K,)`."""
    abstained: bool
    """The most likely class is less likely than the champion's threshold."""
    is_segment: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A path that gives no answer."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What should be known of a file that has answers all the same."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Cutting:
    """How long videos are dealt with."""

    window: float | None
    """Seconds that the model sees of one at once: as long as the training's clips. None: nothing is known of these, and
    each file is taken for a clip."""
    hop: float | None = None
    """Seconds from a window to the next; default: half of it."""
    always: bool = False
    """Cut all, however short."""

    def applies(self, duration: float) -> bool:
        """Whether a video of so many seconds is cut."""
        return self.window is not None and (self.always or duration > LONG * self.window)


def training_seconds(run: RunFolder) -> float | None:
    """How long the training's clips usually are (the median of up to 64); None where they can't be looked at.

    Raises:
        ConfigError: it is no run.
        DataError: its split is damaged.
    """
    folder = Path(run.read_config().data.dir)
    if not run.split.is_file() or not folder.is_dir():
        return None
    clips = [row.clip for row in read_split(run.split).rows if row.split != "test"]
    seconds = []
    for clip in clips[:: -(-len(clips) // _MOST_MEASURED) or 1]:
        try:
            seconds.append(video_duration(folder / clip.path))
        except (DataError, OSError):
            continue
    return statistics.median(seconds) if seconds else None


def find_files(paths: Iterable[Path]) -> Iterator[Path | Unreadable]:
    """Files as they are, and all videos below folders, in order; hidden ones are passed over."""
    for path in paths:
        if not path.is_dir():
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
            yield Unreadable(str(path), "no video lies in this folder")
        yield from videos


def label(
    champion: Champion, files: Iterable[Path | Unreadable], *, threshold: float, cutting: Cutting, batch: int
) -> Iterator[Answer | Unreadable | Remark]:
    """Answers to files, in their order; those that can't be read are named, and the others go on.

    Clips are decoded ahead on all cores while a batch is computed.

    Args:
        champion: the model.
        files: as `find_files` gives them.
        threshold: below this probability it abstains.
        cutting: how long videos are dealt with.
        batch: clips at once.
    """
    waiting: list[tuple[Path, ModelInput]] = []
    for file, seen in _looked_at(champion, files):
        if isinstance(seen, Unreadable) or cutting.applies(seen.facts.duration):
            yield from _clips(champion, waiting, threshold)
            waiting = []
            if isinstance(seen, Unreadable):
                yield seen
            else:
                yield from _segments(champion, file, threshold, cutting, batch)
            continue
        waiting.append((file, seen))
        if len(waiting) == batch:
            yield from _clips(champion, waiting, threshold)
            waiting = []
    yield from _clips(champion, waiting, threshold)


def timeline_of(champion: Champion, file: Path, cutting: Cutting, batch: int) -> VideoTimeline:
    """A video over time.

    Raises:
        DataError: it can't be read, or the lengths can't be used.
    """
    assert cutting.window is not None
    if not file.is_file():
        raise DataError("it is a folder: give one video file" if file.is_dir() else "no such file")
    hop = cutting.hop if cutting.hop is not None else cutting.window / 2
    return read_timeline(champion, file, window=cutting.window, hop=hop, batch=batch)


def segments_of(file: Path, timeline: VideoTimeline, segments: Sequence[Segment]) -> list[Answer | Remark]:
    """A video's segments as answers, and what is to be said of it."""
    answers: list[Answer | Remark] = [
        Answer(str(file), each.start, each.end, each.probabilities, each.abstained, True) for each in segments
    ]
    return [*([Remark(str(file), timeline.damage)] if timeline.damage else []), *answers]


def _segments(
    champion: Champion, file: Path, threshold: float, cutting: Cutting, batch: int
) -> Iterator[Answer | Unreadable | Remark]:
    try:
        timeline = timeline_of(champion, file, cutting, batch)
    except DataError as error:
        yield Unreadable(str(file), str(error))
        return
    length = f"{timeline.edges[-1]:.0f} s"
    yield Remark(str(file), f"{length} long, cut into segments through windows of {timeline.window:.1f} s")
    yield from segments_of(file, timeline, cut(timeline, threshold))


def _clips(champion: Champion, clips: Sequence[tuple[Path, ModelInput]], threshold: float) -> Iterator[Answer | Remark]:
    if not clips:
        return
    found = champion.probabilities([seen.frames for _, seen in clips])
    for (file, seen), row in zip(clips, found, strict=True):
        if seen.facts.damage:
            yield Remark(str(file), seen.facts.damage)
        yield Answer(str(file), 0.0, seen.facts.duration, row, bool(row.max() < threshold), False)


def _looked_at(
    champion: Champion, files: Iterable[Path | Unreadable]
) -> Iterator[tuple[Path, ModelInput | Unreadable]]:
    """Each file with what the model sees of it, in order; a few are decoded ahead, so that memory stays as it is."""

    def look(file: Path | Unreadable) -> tuple[Path, ModelInput | Unreadable]:
        if isinstance(file, Unreadable):
            return Path(file.path), file
        try:
            return file, champion.look(file)
        except DataError as error:
            return file, Unreadable(str(file), str(error))

    workers = os.cpu_count() or 1
    coming: deque[Future[tuple[Path, ModelInput | Unreadable]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for file in files:
                coming.append(pool.submit(look, file))
                if len(coming) > 2 * workers:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()
