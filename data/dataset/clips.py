"""What a labelled clip is, how a folder of clips is scanned, and how clips are told to belong together."""

import csv
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.clip import Clip, check_printable
from data.errors import DataError

_SUFFIX_NAMES = (
    "264 265 3g2 3gp 3gpp amv asf avi divx dv f4v flv gif h264 h265 hevc ivf m1v m2t m2ts m2v "
    "m4v mj2 mjpeg mjpg mk3d mkv mov mp4 mpe mpeg mpg mpv mts mxf nut ogm ogv qt rm rmvb trp "
    "ts vob webm wm wmv wtv y4m"
)
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _SUFFIX_NAMES.split())
"""Lower-case file suffixes of the containers and raw streams that FFmpeg reads."""


@dataclass(frozen=True)
class Scan:
    """What a data folder holds."""

    clips: tuple[Clip, ...]
    """Sorted by path."""
    ignored: tuple[str, ...]
    """Sorted names, relative to the data folder, of what was passed over: files in a class folder that are no
    video, sub-folders without any video, which end in `/`, and videos in no class folder. Hidden files are not among
    them."""
    unmatched_groups: tuple[str, ...]
    """Sorted paths that were given a group but are no clip here."""


def scan_clips(root: Path, groups: Mapping[str, str] | None = None) -> Scan:
    """Return the clips in `root`, which has one sub-folder a class; clips may lie deeper below it.

    `groups` maps every clip's path to its group (paths that are no clip here are reported in
    `Scan.unmatched_groups`); without it each clip is its own group. Links are followed,
    save those to a folder that they lie in.

    Raises DataError where `root` is no readable folder or holds fewer than two classes, where a name can't be
    written on one line, and where a clip has no group.
    """
    if not root.exists():
        raise DataError(f"no such folder: '{root}'; give the folder that has one sub-folder a class")
    if not root.is_dir():
        raise DataError(f"'{root}' is not a folder: give the folder that has one sub-folder a class")
    paths: dict[str, str] = {}
    ignored: list[str] = []
    for entry in _visible_entries(root):
        if not os.path.isdir(entry):
            if os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES:
                check_printable(entry.name)
                ignored.append(entry.name)
            continue
        videos: list[str] = []
        others: list[str] = []
        for name, is_file in _walk(entry, entry.name, (os.path.realpath(root),)):
            is_video = is_file and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
            (videos if is_video else others).append(name)
        paths.update(dict.fromkeys(videos, entry.name))
        ignored += others if videos else [f"{entry.name}/"]
    _check_classes(root, sorted(set(paths.values())))
    if groups is None:
        groups = {path: path for path in paths}
    _check_groups(sorted(paths), groups)
    clips = sorted(Clip(path, label, groups[path]) for path, label in paths.items())
    return Scan(tuple(clips), tuple(sorted(ignored)), tuple(sorted(groups.keys() - paths.keys())))


def read_groups(spec: str) -> dict[str, str]:
    """Return the group of each path that a CSV file lists.

    `spec` is `FILE.csv`, which has the columns `path` and `group`, or `FILE.csv:COLUMN`, whose groups stand in
    COLUMN. Every cell is text (a group may be called `NA`); spaces around a group don't count.

    Raises DataError for a file that can't be read, a missing column, an empty cell, and a path that is given
    two groups.
    """
    path, column = _split_spec(spec)
    groups: dict[str, str] = {}
    for line, (clip, cell) in read_table(path, ("path", column)):
        group = cell.strip()
        check_printable(group)
        known = groups.setdefault(clip, group)
        if known != group:
            raise DataError(
                f"'{path}', line {line}: clip {clip!r} has the group {group!r} here and {known!r} further up: "
                "keep one of them"
            )
    return groups


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line number and the cells in `columns` of each row of a CSV file with a header, in UTF-8.

    Raises DataError for a file that can't be read, a missing column, an empty cell in `columns`, and a row
    that has more cells than the header.
    """
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
        raise DataError(f"'{path}' is not in UTF-8: save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"'{path}', line {reader.reader.line_num}: not CSV ({error}); mend the line") from error


def _visible_entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"can't read the folder '{os.fspath(folder)}': {error.strerror}") from error


def _walk(folder: os.PathLike[str], name: str, parents: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Yield the name of all that lies below `folder` and isn't a folder, and whether it is a file.

    `parents` are the real paths of the folders that were gone through: a link back to one is passed over.
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
        raise DataError(f"no clips in '{root}': one sub-folder a class is expected, with video files in it")
    if len(labels) == 1:
        raise DataError(
            f"only one class in '{root}', {labels[0]!r}: at least two sub-folders with video files are needed"
        )


def _check_groups(paths: Sequence[str], groups: Mapping[str, str]) -> None:
    missing = [path for path in paths if path not in groups]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} clips have no group, the first is {missing[0]!r}: "
            "list each one's path, relative to the data folder, in the file of groups"
        )


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in found:
            near = difflib.get_close_matches(column, found, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            there = ", ".join(map(repr, found)) or "none"
            raise DataError(f"'{path}' has no column {column!r}, its columns are {there}{hint}")


def _split_spec(spec: str) -> tuple[Path, str]:
    # A file name may hold a colon itself (a Windows drive does), so files that exist decide.
    if os.path.isfile(spec):
        return Path(spec), "group"
    file, colon, column = spec.rpartition(":")
    if colon and column and os.path.isfile(file):
        return Path(file), column
    raise DataError(f"no such file of groups: {spec!r}; give FILE.csv (columns path and group) or FILE.csv:COLUMN")
