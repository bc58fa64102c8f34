"""Check, before a command starts its work, that what it writes replaces nothing but its own earlier output."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.dataset.video_files import VIDEO_SUFFIXES
from data.errors import DataError

_HEAD_BYTES = 4096
"""Bytes at the start of a file that show whether the command wrote it."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a command is going to write."""

    path: Path
    what: str
    """What the command writes, for messages, such as `a split file`."""
    head: re.Pattern[bytes] | None = None
    """Found in the first 4 KiB of a file that the same command wrote, which may be replaced; None: no file is replaced,
    since users edit them."""


def check_outputs(outputs: Sequence[OutputFile], inputs: Iterable[str | Path | None] = ()) -> None:
    """Check that the output files of a command can be written and replace nothing else.

    Args:
        outputs: the files.
        inputs: files that the command reads; None and paths that do not exist are ignored.

    Raises:
        DataError: an output is an input, has the name of a video, is a link, a folder, a pipe or a device, belongs to a
            run, is a file that the command did not write, or can't be written; or two outputs have the same path.
    """
    read = [Path(path) for path in inputs if path]
    for number, output in enumerate(outputs):
        try:
            _check_output(output, read)
            _check_writable(output.path)
            if any(os.path.realpath(output.path) == os.path.realpath(other.path) for other in outputs[:number]):
                raise DataError(f"two outputs have the path '{output.path}': give each its own")
        except OSError as error:
            raise DataError(f"can't write '{output.path}': {error.strerror}; give another name") from None


def check_output_folder(folder: Path, outputs: Sequence[OutputFile], inputs: Iterable[str | Path | None] = ()) -> None:
    """Check the folder that a command writes to, which need not exist, and the files that it writes there.

    Raises:
        DataError: the folder is a file, is that of a run or can't be written, or `check_outputs` refuses a file.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise DataError(f"can't write to '{folder}'; give another folder")
    if _is_run(folder):
        raise DataError(f"'{folder}' is the folder of a run; give another folder")
    check_outputs(outputs, inputs)


def _check_output(output: OutputFile, inputs: Sequence[Path]) -> None:
    path = output.path
    if path.is_dir():
        raise DataError(f"'{path}' is a folder; give the name of a file for {output.what}")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(f"'{path}' has the name of a video; give another name for {output.what}")
    if any(_same_file(path, other) for other in inputs):
        raise DataError(f"'{path}' is also an input of this command; give another name for {output.what}")
    if path.is_symlink():
        # Writing replaces the link; /dev/stdout is one.
        raise DataError(f"'{path}' is a link; give the name of a file for {output.what}")
    if not path.exists():
        return
    if not path.is_file():
        raise DataError(f"'{path}' is a pipe or a device; give the name of a file for {output.what}")
    if _is_run(path.resolve().parent):
        raise DataError(f"'{path}' belongs to a run; give another name for {output.what}")
    if output.head is None:
        raise DataError(f"'{path}' exists: give another name, or remove it")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head and not output.head.search(head):
        raise DataError(f"'{path}' exists and is not {output.what}; give another name, or remove it")


def _check_writable(path: Path) -> None:
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise DataError(f"can't write '{path}': '{folder}' is a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"can't write '{path}': no permission for '{folder}'")


def _is_run(folder: Path) -> bool:
    """Return whether a sweep created the folder: its settings, its split, and its MLflow run or champion."""
    has = {name: (folder / name).exists() for name in ("config.yaml", "split.csv", "mlflow.json", "best")}
    return has["config.yaml"] and has["split.csv"] and (has["mlflow.json"] or has["best"])


def _same_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
