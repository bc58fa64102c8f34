"""Options of the `predict` command, and their check, which imports nothing that takes long."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.files import not_a_file
from data.outputs import OutputFile, check_outputs
from tuning.errors import ConfigError

OutputFormat = Literal["table", "csv", "json"]
PLOT_SUFFIXES = (".png", ".svg")

_ANSWERS_HEAD = re.compile(
    rb"\Aclip +(?:from +to +)?class +probability[^\n]*\n-"  # a table
    rb"|\Aclip,start,end,label,probability,abstained"  # CSV
    rb'|\A\[\s*(?:\]|\{\s*"clip":)'  # JSON
)
_PLOT_HEAD = re.compile(rb"(?s)\A(?:\x89PNG|<\?xml).*Matplotlib")


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Options of the `predict` command."""

    paths: Sequence[Path]
    """Files and folders."""
    top: int = 1
    """Number of most likely classes to show."""
    format: OutputFormat = "table"
    out: Path | None = None
    """File for the predictions; default: stdout."""
    abstain: bool = True
    """Give no class if no probability reaches the threshold."""
    batch: int | None = None
    """Clips per forward pass; default: as in training."""
    long: bool = False
    """Cut every video into segments."""
    window: float | None = None
    """Length of a window in seconds; default: that of the training clips."""
    hop: float | None = None
    """Seconds between the starts of two windows; default: half a window."""
    plot: Path | None = None
    """File for a picture of one video's segments."""


def check_options(options: PredictOptions) -> None:
    """Check the options on their own, and that the output files replace nothing but earlier answers and plots.

    Raises:
        ConfigError: an option is not valid.
        DataError: an output file would replace another file.
    """
    for name, count in (("top", options.top), ("batch", options.batch)):
        if count is not None and count < 1:
            raise ConfigError(f"--{name} {count}: give 1 or more")
    for name, seconds in (("window", options.window), ("hop", options.hop)):
        if seconds is not None and not 0 < seconds < math.inf:
            raise ConfigError(f"--{name} {seconds:g}: give a time above 0")
    _check_outputs(options)
    if options.plot is None:
        return
    if options.plot.suffix.lower() not in PLOT_SUFFIXES:
        raise ConfigError(f"--plot {options.plot}: give a name that ends in {' or '.join(PLOT_SUFFIXES)}")
    if len(options.paths) > 1 or options.paths[0].is_dir():
        raise ConfigError("--plot shows one video: give one file")


def check_paths(paths: Sequence[Path]) -> None:
    """Check that there is something to classify; a path that is missing beside others does not stop them.

    Raises:
        ConfigError: none of the paths exists.
    """
    if any(map(os.path.exists, paths)):
        return
    if len(paths) == 1:
        raise ConfigError(f"{paths[0]}: {not_a_file(paths[0], 'give video files')}")
    raise ConfigError(f"none of the {len(paths)} paths exists, the first is {str(paths[0])!r}")


def _check_outputs(options: PredictOptions) -> None:
    outputs = []
    if options.out is not None:
        outputs.append(OutputFile(options.out, "a file of answers", _ANSWERS_HEAD))
    if options.plot is not None:
        outputs.append(OutputFile(options.plot, "a plot of segments", _PLOT_HEAD))
    for output in outputs:
        if not output.path.absolute().parent.is_dir():
            raise ConfigError(f"{str(output.path)!r} can't be written; give a file in an existing folder")
    check_outputs(outputs, options.paths)
