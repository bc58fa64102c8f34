"""Writing of a demo folder: all clips of a plan, resumable after an interruption."""

from __future__ import annotations

import csv
import functools
import json
import multiprocessing
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from data.demo.encode import CONTAINERS, encode_take
from data.demo.film import film_clip
from data.demo.plan import DemoClip, plan_demo
from data.errors import DataError

_GENERATOR_VERSION = 1
"""To be raised when the same parameters give different clips: a folder of old clips is then refused, not completed."""

_PARAMETERS = "demo.json"
_SOURCES = "sources.csv"
_UNFINISHED = ".unfinished"
"""Folder of temporary files, and of the parameters until all clips are written."""


@dataclass(frozen=True)
class _Parameters:
    classes: int
    clips_per_class: int
    seed: int
    generator: int = _GENERATOR_VERSION


def write_demo(
    out: Path,
    *,
    classes: int = 6,
    clips_per_class: int = 48,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> list[DemoClip]:
    """Write demo clips as `out/CLASS/FILE` and their groups as `out/sources.csv` (columns `path` and `group`).

    The same parameters give the same files. Existing clips are kept: a second call does nothing, and a call after an
    interruption writes the missing clips. `out/demo.json` holds the parameters and is written last.

    Args:
        out: the demo folder; created if it does not exist.
        classes: number of classes, 2 to 10; the first two are the time pair.
        clips_per_class: clips of the largest class.
        seed: decides people, rooms and takes.
        workers: number of processes; default: one per core.
        progress: show a progress bar.

    Returns:
        All clips of the folder.

    Raises:
        DataError: a parameter is out of range; or the folder holds other files or demo clips of other parameters, or
            is not writable.
    """
    plan = plan_demo(classes, clips_per_class, seed)
    parameters = _Parameters(classes, clips_per_class, seed)
    try:
        _check_folder(out, parameters)
        missing = [clip for clip in plan if not (out / clip.path).exists()]
        if missing or not all((out / name).exists() for name in (_SOURCES, _PARAMETERS)):
            with _unfinished(out, parameters):
                write_clips(out, missing, seed, workers=workers, progress=progress)
                _write_sources(out, plan)
    except OSError as error:
        raise DataError(f"can't write demo clips to '{out}' ({error.strerror}); give another folder") from error
    return plan


def write_clips(
    out: Path, clips: Sequence[DemoClip], seed: int, *, workers: int | None = None, progress: bool = True
) -> None:
    """Write some clips of a plan and no other files; the arguments are those of `write_demo`."""
    unfinished = out / _UNFINISHED
    unfinished.mkdir(parents=True, exist_ok=True)
    count = max(1, min(workers or os.cpu_count() or 1, len(clips)))
    # Never fork: the caller may hold threads, and a forked child can deadlock on their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_exit_with_parent) as pool:
        written = pool.map(functools.partial(_write_clip, out, seed), clips)
        for _ in tqdm(written, total=len(clips), desc="demo clips", unit="clip", disable=not progress):
            pass
    with suppress(OSError):  # It isn't empty if the parameters of an unfinished demo are in it.
        unfinished.rmdir()


def _write_clip(out: Path, seed: int, clip: DemoClip) -> None:
    """Runs in a worker process."""
    with _replacing(out, out / clip.path) as file:
        encode_take(film_clip(clip, seed), file, CONTAINERS[Path(clip.path).suffix])


def _exit_with_parent() -> None:
    """Exit this worker when its parent dies: it would otherwise wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _check_folder(out: Path, parameters: _Parameters) -> None:
    """Raise DataError if `out` holds anything but clips of these parameters."""
    if not out.exists():
        return
    for file in (out / _PARAMETERS, out / _UNFINISHED / _PARAMETERS):
        if file.exists():
            return _check_same(out, file, parameters)
    if any(entry.name != _UNFINISHED for entry in out.iterdir()):
        raise DataError(f"'{out}' holds files that are not demo clips; give an empty or a new folder")


def _check_same(out: Path, file: Path, parameters: _Parameters) -> None:
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = None
    if found != asdict(parameters):
        raise DataError(
            f"'{out}' holds demo clips generated with {_listed(found)}, not {_listed(asdict(parameters))}; "
            "delete it or give another folder"
        )


def _listed(parameters: object) -> str:
    if not isinstance(parameters, Mapping):
        return "unknown parameters"
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


@contextmanager
def _unfinished(out: Path, parameters: _Parameters) -> Iterator[None]:
    """Keep the parameters in the folder of unfinished files, and move them to `out` when all clips are written."""
    folder = out / _UNFINISHED
    folder.mkdir(parents=True, exist_ok=True)
    _write_parameters(out, folder / _PARAMETERS, parameters)
    yield
    _write_parameters(out, out / _PARAMETERS, parameters)
    shutil.rmtree(folder)


@contextmanager
def _replacing(out: Path, target: Path) -> Iterator[Path]:
    """Yield a temporary file that atomically replaces `target` at the end."""
    file = out / _UNFINISHED / uuid.uuid4().hex
    yield file
    target.parent.mkdir(exist_ok=True)
    os.replace(file, target)


def _write_parameters(out: Path, target: Path, parameters: _Parameters) -> None:
    with _replacing(out, target) as file:
        file.write_text(json.dumps(asdict(parameters)) + "\n")


def _write_sources(out: Path, plan: Sequence[DemoClip]) -> None:
    with _replacing(out, out / _SOURCES) as file, file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("path", "group"))
        rows.writerows((clip.path, clip.group) for clip in plan)
