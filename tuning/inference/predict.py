"""The command that labels files: what it is asked for, what goes to which stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from data.errors import DataError
from tuning.config.run_folder import RunFolder, find_run
from tuning.errors import ConfigError
from tuning.inference.champion import Champion
from tuning.inference.label import (
    Answer,
    Cutting,
    Remark,
    Unreadable,
    find_files,
    label,
    segments_of,
    timeline_of,
    training_seconds,
)
from tuning.inference.output import Format, write_answers
from tuning.inference.segments import cut
from tuning.inference.timeline_plot import SUFFIXES, plot_timeline


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What is asked for."""

    paths: Sequence[Path]
    """Files and folders."""
    top: int = 1
    """Likeliest classes to show."""
    format: Format = "table"
    out: Path | None = None
    """A file in the place of stdout."""
    abstain: bool = True
    """Give no answer where none is likely enough."""
    batch: int | None = None
    """Clips at once; default: as trained."""
    long: bool = False
    """Cut all videos into segments."""
    window: float | None = None
    """Seconds; default: as long as the training's clips."""
    hop: float | None = None
    """Seconds; default: half a window."""
    plot: Path | None = None
    """Picture of one video's segments."""


def open_champion(run: Path | None, model: Path | None) -> tuple[Champion, RunFolder | None]:
    """A champion by its run or by its own folder, and its run as far as it is known.

    Raises:
        CheckpointError: there is no champion, or it is damaged.
        ConfigError: no such run, or its sweep has not ended.
    """
    if run is not None:
        found = find_run(str(run))
        if not found.best.exists():
            raise ConfigError(
                f"run {found.cli_name!r} has no champion yet, since its sweep has not ended; go on with: "
                f"python -m tuning sweep --resume {found.cli_name}"
            )
        return Champion(found.best), found
    assert model is not None
    parent = RunFolder(model.absolute().parent)
    return Champion(model), parent if parent.config.is_file() and parent.best == model.absolute() else None


def predict_files(run: Path | None, model: Path | None, options: PredictOptions) -> int:
    """Label files and write the answers.

    Returns:
        How many files could not be read; each is named on stderr.

    Raises:
        CheckpointError, ConfigError, DataError: what is asked for can't be done.
    """
    _check(options)
    champion, found = open_champion(run, model)
    if options.top > len(champion.classes):
        raise ConfigError(f"--top {options.top}: the champion knows {len(champion.classes)} classes")
    threshold = champion.calibration.threshold if options.abstain else 0.0
    cutting = _cutting(found, options)
    batch = options.batch or champion.manifest.trial.train.max_micro_batch
    report = _Report(cutting)
    with _opened(options.out) as stream:
        if options.plot is None:
            results = label(champion, find_files(options.paths), threshold=threshold, cutting=cutting, batch=batch)
        else:
            results = _plotted(champion, options.paths[0], options.plot, threshold, cutting, batch)
        write_answers(report.answers(results), champion.classes, stream, format=options.format, top=options.top)
    report.end()
    return report.unreadable


class _Report:
    """Tells stderr what is no answer, and counts."""

    def __init__(self, cutting: Cutting) -> None:
        self.unreadable = 0
        self._cutting = cutting
        self._abstained = self._given = 0
        self._is_told = False

    def answers(self, results: Iterator[Answer | Unreadable | Remark]) -> Iterator[Answer]:
        for result in results:
            if isinstance(result, Answer):
                self._abstained += result.abstained
                self._given += 1
                self._tell_if_long(result)
                yield result
            elif isinstance(result, Unreadable):
                self.unreadable += 1
                print(f"error: {result.path}: {result.reason}", file=sys.stderr, flush=True)
            else:
                print(f"note: {result.path}: {result.text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._abstained:
            print(
                f"note: {self._abstained} of {self._given} answers are withheld, since no class is likely enough; "
                "--no-abstain gives the likeliest all the same",
                file=sys.stderr,
            )
        if self.unreadable > 1:
            print(f"error: {self.unreadable} paths can't be read, named above", file=sys.stderr)

    def _tell_if_long(self, answer: Answer) -> None:
        if self._cutting.window is None and answer.end > _SURELY_LONG and not self._is_told:
            self._is_told = True
            print(
                f"note: {answer.path}: {answer.end:.0f} s long and labelled as one clip, for how long the training's "
                "clips are can't be looked at; --window SECONDS cuts it into segments",
                file=sys.stderr,
            )


_SURELY_LONG = 30


def _check(options: PredictOptions) -> None:
    for name, value in (("top", options.top), ("batch", options.batch)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: give 1 or more")
    if options.window is not None and options.window <= 0:
        raise ConfigError(f"--window {options.window:g}: give a time above 0")
    if options.hop is not None and options.hop <= 0:
        raise ConfigError(f"--hop {options.hop:g}: give a time above 0")
    for target in (options.out, options.plot):
        if target is not None and (target.is_dir() or not target.absolute().parent.is_dir()):
            raise ConfigError(f"{str(target)!r} can't be written: give a file in a folder that is there")
    if options.plot is None:
        return
    if options.plot.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot {options.plot}: give a name that ends in {' or '.join(SUFFIXES)}")
    if len(options.paths) > 1 or options.paths[0].is_dir():
        raise ConfigError("--plot shows one video: give one file")


def _cutting(run: RunFolder | None, options: PredictOptions) -> Cutting:
    window = options.window or (training_seconds(run) if run is not None else None)
    always = options.long or options.plot is not None
    if window is None and (always or options.hop is not None):
        raise ConfigError("how long the training's clips are can't be looked at: give --window SECONDS")
    if window is not None and options.hop is not None and options.hop > window:
        raise ConfigError(f"--hop {options.hop:g} leaves gaps between windows of {window:g} s: give at most that")
    return Cutting(window, options.hop, always)


def _plotted(
    champion: Champion, file: Path, plot: Path, threshold: float, cutting: Cutting, batch: int
) -> Iterator[Answer | Unreadable | Remark]:
    try:
        timeline = timeline_of(champion, file, cutting, batch)
    except DataError as error:
        yield Unreadable(str(file), str(error))
        return
    segments = cut(timeline, threshold)
    plot_timeline(timeline, segments, champion.classes, plot, title=file.name, threshold=threshold)
    yield from segments_of(file, timeline, segments)


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """The file is there once it is whole."""
    if out is None:
        yield sys.stdout
        return
    aside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", newline="", encoding="utf-8") as stream:
            yield stream
        aside.replace(out)
    except OSError as error:
        raise ConfigError(f"{str(out)!r} can't be written ({error.strerror})") from None
    finally:
        aside.unlink(missing_ok=True)
