"""Scan of a folder of labelled clips, and the CSV file that says which clips belong to one group."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.clip import Clip, check_printable
from data.dataset.class_names import merged_names
from data.dataset.label_files import Labels
from data.dataset.layout import (
    FOLDERS,
    MERGE,
    Layout,
    check_split_choice,
    find_layout,
    split_level,
    split_of_folder,
)
from data.dataset.listed_paths import match_listed, nearest_path, with_nearest
from data.dataset.tables import read_table
from data.dataset.unusable import check_folder, check_in_folders, check_not_empty, check_two_classes, notes_on_folders
from data.dataset.video_files import FolderContents, list_folder
from data.errors import DataError
from data.files import not_a_file

_TWO_GROUPS = "the label file has a group for each clip; leave out"


@dataclass(frozen=True, slots=True)
class Scan:
    """The contents of a data folder."""

    clips: tuple[Clip, ...]
    """Sorted by path."""
    ignored: tuple[str, ...]
    """Sorted names, relative to the data folder, of skipped files: files in class folders that are not videos, and
    sub-folders without any video, which end in `/`. Hidden files are not listed."""
    unmatched_groups: tuple[str, ...]
    """Sorted paths that have a group but are not clips of the folder."""
    splits: Mapping[str, str] | None
    """The split that each clip comes with, by folders or by label files; None if a split is to be made."""
    has_groups: bool
    """Whether groups are given; if not, each clip is its own group."""
    notes: tuple[str, ...]
    """What a user should know about the classes and about files of labels and groups."""


def scan_clips(
    root: Path,
    groups: Mapping[str, str] | None = None,
    *,
    labels: Labels | None = None,
    split: str | None = None,
    merge_classes: bool = False,
) -> Scan:
    """Find the clips in `root`, which has one sub-folder per class; clips may be in folders below it.

    Links are followed, except those to a folder that they are in.

    Args:
        root: the data folder.
        groups: the group of every clip's path; default: those of `labels`, or else each clip is its own group.
        labels: the class of each path, instead of sub-folders; videos that it does not list are not clips.
        split: FOLDERS or MERGE, how to take folders such as train, val and test; default: refuse them.
        merge_classes: make one class of classes whose names look alike; default: refuse them.

    Raises:
        DataError: `root` is not a readable folder or has fewer than two classes, its layout is not clear, a name can't
            be written on one line, names of classes look alike, or a clip has no group.
    """
    check_folder(root)
    contents = list_folder(root)
    check_not_empty(root, contents)
    layout = _folder_layout(root, contents, split) if labels is None else _listed_layout(root, contents, labels, split)
    names = merged_names(Counter(layout.labels.values()), merge=merge_classes)
    merged = [f"class {name!r} is taken as {use!r}" for name, use in sorted(names.items()) if name != use]
    classes = {path: names.get(label, label) for path, label in layout.labels.items()}
    if len(set(classes.values())) < 2:
        raise DataError(
            f"all {len(classes)} clips are of one class, {min(classes.values())!r}; list clips of two classes or more"
        )
    found, unmatched = _groups(root, sorted(classes), groups, labels)
    shown = with_nearest(unmatched, contents.videos)
    return Scan(
        tuple(sorted(Clip(path, label, found[path] if found else path) for path, label in classes.items())),
        contents.ignored(),
        unmatched,
        layout.splits,
        found is not None,
        (
            *layout.notes,
            *merged,
            *_counted("rows of the groups file are not clips of the folder", shown),
        ),
    )


def _folder_layout(root: Path, contents: FolderContents, split: str | None) -> Layout:
    """Return the classes and splits by folders, with notes on folders that are no classes."""
    check_in_folders(root, contents.videos)
    layout = find_layout(root, contents.videos, split)
    check_two_classes(root, layout.labels.values(), contents.videos)
    return replace(layout, notes=(*layout.notes, *notes_on_folders(contents)))


def _listed_layout(root: Path, contents: FolderContents, labels: Labels, split: str | None) -> Layout:
    """Return the classes and splits of the videos that label files list, with notes on what doesn't match."""
    rows, unmatched = match_listed(labels.rows, contents.videos, root, "labels")
    if not rows:
        shown = with_nearest(unmatched, contents.videos)[0]
        raise DataError(f"none of the {len(unmatched)} clips of the label file are in '{root}', the first is {shown}")
    splits: dict[str, str] | None = {path: row.split for path, row in rows.items() if row.split is not None}
    if splits:
        if split == FOLDERS:
            raise DataError(f"--split {FOLDERS} has no effect: the label file has a split for each clip; leave it out")
    else:
        level = split_level(list(rows), in_classes=False)
        check_split_choice(root, list(rows), level, split)
        splits = {path: split_of_folder(path.split("/")[level]) or "" for path in rows} if level is not None else None
    unlisted = [path for path in contents.videos if path not in rows]
    notes = (
        *labels.notes,
        *_counted("rows of the label file are not clips of the folder", with_nearest(unmatched, contents.videos)),
        *_counted("videos in the folder are not used, because the label file does not list them", unlisted),
    )
    classes = {path: row.label or "" for path, row in rows.items()}
    return Layout(classes, None if split == MERGE else splits, notes)


def _counted(text: str, names: Sequence[str]) -> list[str]:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{len(names)} {text}: {', '.join(names[:3])}{more}"] if names else []


def _groups(
    root: Path, paths: Sequence[str], groups: Mapping[str, str] | None, labels: Labels | None
) -> tuple[dict[str, str] | None, tuple[str, ...]]:
    """Return the group of each clip, None if none are given, and the paths with a group that are not clips."""
    if labels is not None and labels.groups:
        if groups is not None:
            raise DataError(f"{_TWO_GROUPS} --groups, or that column")
        return match_listed(labels.groups, paths, root, "groups")[0], ()
    if groups is None:
        return None, ()
    found, unmatched = match_listed(groups, paths, root, "groups")
    _check_groups(paths, found, unmatched)
    return found, unmatched


def check_groups_to_find(scan: Scan) -> None:
    """Check that groups, which are to be found from the pictures, are not given by a label file.

    Raises:
        DataError: they are.
    """
    if scan.has_groups:
        raise DataError(f"{_TWO_GROUPS} --groups auto, or that column")


def match_groups(groups: Mapping[str, str], clips: Sequence[Clip], root: Path) -> tuple[dict[str, str], list[str]]:
    """Return the group of each clip that a groups file lists, and notes on its rows that are not clips."""
    paths = [clip.path for clip in clips]
    found, unmatched = match_listed(groups, paths, root, "groups")
    return found, _counted("rows of the groups file are not clips of the folder", with_nearest(unmatched, paths))


def read_groups(spec: str) -> dict[str, str]:
    """Read the group of each path that a CSV file lists.

    Args:
        spec: `FILE.csv`, with the columns `path` and `group`, or `FILE.csv:COLUMN`, with the groups in COLUMN. Every
            cell is text (a group may be called `NA`); spaces around a group are ignored, and so is how its accents
            are coded.

    Raises:
        DataError: the file can't be read, lacks a column, has an empty cell, or gives a path two groups.
    """
    path, column = _parse_spec(spec)
    groups: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for line, (clip, cell) in read_table(path, ("path", column)):
        group = cell.strip()
        check_printable(group)
        group = spelling.setdefault(unicodedata.normalize("NFC", group), group)
        known = groups.setdefault(clip, group)
        if known != group:
            raise DataError(
                f"'{path}', line {line}: clip {clip!r} has the group {group!r} here and {known!r} above; "
                "keep one of them"
            )
    return groups


def _check_groups(paths: Sequence[str], groups: Mapping[str, str], unmatched: Sequence[str]) -> None:
    missing = [path for path in paths if path not in groups]
    if missing:
        near = nearest_path(missing[0], unmatched)
        raise DataError(
            f"{len(missing)} of {len(paths)} clips have no group, the first is {missing[0]!r}; "
            "list the path of each, relative to the data folder, in the groups file"
            + (f" (it lists {near!r}, which is not a clip)" if near else "")
        )


def _parse_spec(spec: str) -> tuple[Path, str]:
    # A file name may contain a colon itself (a Windows drive does), so existing files decide.
    if os.path.isfile(spec):
        return Path(spec), "group"
    file, colon, column = spec.rpartition(":")
    if colon and column and os.path.isfile(file):
        return Path(file), column
    for path in filter(os.path.exists, (spec, file)):
        raise DataError(f"can't read the groups file {path!r}: {not_a_file(Path(path), 'give a CSV file')}")
    raise DataError(f"no such groups file: {spec!r}; give FILE.csv (columns path and group) or FILE.csv:COLUMN")
