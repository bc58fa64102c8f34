"""The `predict` command: classify files, write predictions to stdout or a file, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from data.errors import DataError
from tuning.config.run_folder import RunFolder
from tuning.errors import ConfigError
from tuning.inference.champion import Champion, open_champion
from tuning.inference.classify import (
    FilePrediction,
    FileResult,
    LongVideoOptions,
    UnreadableFile,
    classify_files,
    find_videos,
    segment_results,
    timeline_of_file,
)
from tuning.inference.clip_length import training_clip_seconds
from tuning.inference.options import PredictOptions, check_options
from tuning.inference.output import write_predictions
from tuning.inference.segments import find_segments
from tuning.inference.timeline_plot import plot_timeline

_SURELY_LONG = 30
"""Seconds above which a video is not one clip, whatever the training clips are."""


def predict_files(run: Path | None, model: Path | None, options: PredictOptions) -> int:
    """Classify files and write the predictions.

    Returns:
        The number of unreadable files; each is named on stderr.

    Raises:
        CheckpointError: there is no champion, or its files are damaged.
        ConfigError: an option is not valid.
        DataError: an output file would replace another file.
    """
    check_options(options)
    champion, found = open_champion(run, model)
    if options.top > len(champion.classes):
        raise ConfigError(f"--top {options.top}: the champion has {len(champion.classes)} classes, give at most that")
    threshold = champion.calibration.threshold if options.abstain else 0.0
    long_videos = _long_video_options(found, options)
    batch_size = options.batch or champion.batch_size
    messages = _Messages(long_videos)
    with _open_output(options.out) as stream:
        results: Iterable[FileResult]
        if options.plot is None:
            results = classify_files(
                champion,
                find_videos(options.paths),
                threshold=threshold,
                long_videos=long_videos,
                batch_size=batch_size,
            )
        else:
            results = _plot_and_classify(champion, options.paths[0], options.plot, threshold, long_videos, batch_size)
        predictions = messages.predictions(results)
        write_predictions(predictions, champion.classes, stream, format=options.format, top=options.top)
    messages.summarise()
    return messages.num_unreadable


class _Messages:
    """Passes predictions on and prints all other results to stderr."""

    def __init__(self, long_videos: LongVideoOptions) -> None:
        self.num_unreadable = 0
        self._long_videos = long_videos
        self._num_abstained = self._num_suspect = self._num_predictions = 0
        self._noted_length = False

    def predictions(self, results: Iterable[FileResult]) -> Iterator[FilePrediction]:
        """Yield the predictions among the results."""
        for result in results:
            if isinstance(result, FilePrediction):
                self._num_abstained += result.abstained
                self._num_suspect += bool(result.defects)
                self._num_predictions += 1
                self._note_if_long(result)
                yield result
            elif isinstance(result, UnreadableFile):
                self.num_unreadable += 1
                _print_error(f"error: {result.path}: {result.reason}")
            else:
                _print_error(f"note: {result.path}: {result.text}")

    def summarise(self) -> None:
        """Print how many predictions are withheld, how many are of suspect clips, and how many paths are unreadable."""
        if self._num_abstained:
            _print_error(
                f"note: {self._num_abstained} of {self._num_predictions} predictions are withheld, since no class is "
                "likely enough; --no-abstain shows the most likely class anyway"
            )
        if self._num_suspect:
            _print_error(
                f"note: {self._num_suspect} of {self._num_predictions} predictions are of clips with defects, named "
                "beside them; they may mean nothing"
            )
        if self.num_unreadable > 1:
            _print_error(f"error: {self.num_unreadable} paths can't be read, named above")

    def _note_if_long(self, prediction: FilePrediction) -> None:
        if self._long_videos.window is None and prediction.end > _SURELY_LONG and not self._noted_length:
            self._noted_length = True
            _print_error(
                f"note: {prediction.path}: {prediction.end:.0f} s long and classified as one clip, since the length of "
                "the training clips is unknown; --window SECONDS cuts it into segments"
            )


def _print_error(text: str) -> None:
    # A path may have line breaks.
    print(" ".join(text.splitlines()), file=sys.stderr, flush=True)


def _long_video_options(run: RunFolder | None, options: PredictOptions) -> LongVideoOptions:
    window = options.window or (training_clip_seconds(run) if run is not None else None)
    always = options.long or options.plot is not None
    if window is None and (always or options.hop is not None):
        raise ConfigError("the length of the training clips is unknown; give --window SECONDS")
    if window is not None and options.hop is not None and options.hop > window:
        raise ConfigError(f"--hop {options.hop:g} leaves gaps between windows of {window:g} s; give at most that")
    return LongVideoOptions(window, options.hop, always)


def _plot_and_classify(
    champion: Champion, file: Path, plot: Path, threshold: float, long_videos: LongVideoOptions, batch_size: int
) -> Iterator[FileResult]:
    try:
        timeline = timeline_of_file(champion, file, long_videos, batch_size)
    except DataError as error:
        yield UnreadableFile(str(file), str(error))
        return
    segments = find_segments(timeline, threshold)
    plot_timeline(timeline, segments, champion.classes, plot, title=file.name, threshold=threshold)
    yield from segment_results(file, timeline, segments)


@contextmanager
def _open_output(out: Path | None) -> Iterator[TextIO]:
    """Yield stdout, or a file that replaces `out` once it is complete."""
    if out is None:
        yield sys.stdout
        return
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        # A path that is not UTF-8 is escaped, which JSON readers undo.
        with temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
        temporary.replace(out)
    except OSError as error:
        raise ConfigError(f"{str(out)!r} can't be written ({error.strerror}); give another file") from None
    finally:
        temporary.unlink(missing_ok=True)
