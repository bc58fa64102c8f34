"""Scan of a folder of labelled clips, and the CSV file that says which clips belong to one group."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.clip import Clip, check_printable
from data.errors import DataError
from data.files import not_a_file

_SUFFIX_NAMES = (
    "264 265 3g2 3gp 3gpp amv asf avi divx dv f4v flv gif h264 h265 hevc ivf m1v m2t m2ts m2v "
    "m4v mj2 mjpeg mjpg mk3d mkv mov mp4 mpe mpeg mpg mpv mts mxf nut ogm ogv qt rm rmvb trp "
    "ts vob webm wm wmv wtv y4m"
)
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _SUFFIX_NAMES.split())
"""Lower-case file suffixes of the containers and raw streams that FFmpeg reads."""


@dataclass(frozen=True)
class Scan:
    """The contents of a data folder."""

    clips: tuple[Clip, ...]
    """Sorted by path."""
    ignored: tuple[str, ...]
    """Sorted names, relative to the data folder, of skipped files: files in class folders that are not videos,
    sub-folders without any video, which end in `/`, and videos outside the class folders. Hidden files are not
    listed."""
    unmatched_groups: tuple[str, ...]
    """Sorted paths that have a group but are not clips of the folder."""


def scan_clips(root: Path, groups: Mapping[str, str] | None = None) -> Scan:
    """Find the clips in `root`, which has one sub-folder per class; clips may be in folders below it.

    Links are followed, except those to a folder that they are in.

    Args:
        root: the data folder.
        groups: the group of every clip's path; default: each clip is its own group.

    Raises:
        DataError: `root` is not a readable folder or has fewer than two classes, a name can't be written on one line,
            or a clip has no group.
    """
    if not root.exists():
        raise DataError(f"no such folder: '{root}'; give the folder that has one sub-folder per class")
    if not root.is_dir():
        raise DataError(f"'{root}' is not a folder; give the folder that has one sub-folder per class")
    labels: dict[str, str] = {}
    ignored: list[str] = []
    for entry in _visible_entries(root):
        if not os.path.isdir(entry):
            if _has_video_suffix(entry.name):
                check_printable(entry.name)
                ignored.append(entry.name)
            continue
        videos: list[str] = []
        others: list[str] = []
        for name, is_file in _walk(entry, entry.name, (os.path.realpath(root),)):
            (videos if is_file and _has_video_suffix(name) else others).append(name)
        labels.update(dict.fromkeys(videos, entry.name))
        ignored += others if videos else [f"{entry.name}/"]
    _check_classes(root, sorted(set(labels.values())))
    if groups is None:
        groups = {path: path for path in labels}
    _check_groups(sorted(labels), groups)
    clips = sorted(Clip(path, label, groups[path]) for path, label in labels.items())
    return Scan(tuple(clips), tuple(sorted(ignored)), tuple(sorted(groups.keys() - labels.keys())))


def read_groups(spec: str) -> dict[str, str]:
    """Read the group of each path that a CSV file lists.

    Args:
        spec: `FILE.csv`, with the columns `path` and `group`, or `FILE.csv:COLUMN`, with the groups in COLUMN. Every
            cell is text (a group may be called `NA`); spaces around a group are ignored.

    Raises:
        DataError: the file can't be read, lacks a column, has an empty cell, or gives a path two groups.
    """
    path, column = _parse_spec(spec)
    groups: dict[str, str] = {}
    for line, (clip, cell) in read_table(path, ("path", column)):
        group = cell.strip()
        check_printable(group)
        known = groups.setdefault(clip, group)
        if known != group:
            raise DataError(
                f"'{path}', line {line}: clip {clip!r} has the group {group!r} here and {known!r} above; "
                "keep one of them"
            )
    return groups


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line number and the cells in `columns` of each row of a CSV file with a header, in UTF-8.

    Raises:
        DataError: the file can't be read, lacks a column, has an empty cell in `columns`, or has a row with more cells
            than the header.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"can't read '{path}': {not_a_file(path, 'give a CSV file')}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or (), columns)
            for row in reader:
                where = f"'{path}', line {reader.line_num}"
                if None in row:
                    raise DataError(f"{where}: more cells than columns; put a name with a comma in quotes")
                cells = tuple(row[column] or "" for column in columns)
                for column, cell in zip(columns, cells, strict=True):
                    if not cell.strip():
                        raise DataError(f"{where}: the column {column!r} is empty; fill it in")
                yield reader.line_num, cells
    except OSError as error:
        raise DataError(f"can't read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not in UTF-8; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"'{path}', line {reader.reader.line_num}: not CSV ({error}); correct the line") from error


def _has_video_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _visible_entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"can't read the folder '{os.fspath(folder)}': {error.strerror}") from error


def _walk(folder: os.PathLike[str], name: str, parents: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Yield the name of every entry below `folder` that isn't a folder, and whether it is a file.

    `parents` are the real paths of the folders on the way to this one: a link back to one of them is skipped.
    """
    check_printable(name)
    real = os.path.realpath(folder)
    if real in parents:
        return
    for entry in _visible_entries(folder):
        below = f"{name}/{entry.name}"
        # DirEntry.is_dir raises for a link to itself.
        if os.path.isdir(entry):
            yield from _walk(entry, below, (*parents, real))
        else:
            check_printable(below)
            yield below, os.path.isfile(entry)


def _check_classes(root: Path, labels: Sequence[str]) -> None:
    if not labels:
        raise DataError(f"no clips in '{root}'; it needs one sub-folder per class, with video files in it")
    if len(labels) == 1:
        raise DataError(f"only one class in '{root}', {labels[0]!r}; it needs two or more sub-folders with video files")


def _check_groups(paths: Sequence[str], groups: Mapping[str, str]) -> None:
    missing = [path for path in paths if path not in groups]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} clips have no group, the first is {missing[0]!r}; "
            "list the path of each, relative to the data folder, in the groups file"
        )


def _check_columns(path: Path, found: Sequence[str], needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in found]
    if not missing:
        return
    near = difflib.get_close_matches(missing[0], found, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(map(repr, found)) or "none"
    columns = "columns" if len(missing) > 1 else "column"
    raise DataError(
        f"'{path}' has no {columns} {_listed(missing)}: it must have {_listed(needed)}, its columns are {there}{hint}"
    )


def _listed(names: Sequence[str]) -> str:
    *first, last = map(repr, names)
    return f"{', '.join(first)} and {last}" if first else last


def _parse_spec(spec: str) -> tuple[Path, str]:
    # A file name may contain a colon itself (a Windows drive does), so existing files decide.
    if os.path.isfile(spec):
        return Path(spec), "group"
    file, colon, column = spec.rpartition(":")
    if colon and column and os.path.isfile(file):
        return Path(file), column
    if os.path.exists(spec):
        raise DataError(f"can't read the groups file {spec!r}: {not_a_file(Path(spec), 'give a CSV file')}")
    raise DataError(f"no such groups file: {spec!r}; give FILE.csv (columns path and group) or FILE.csv:COLUMN")
