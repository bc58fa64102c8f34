"""Compare a split with the folder that its clips are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from data.clip import Clip
from data.dataset.class_names import alike_key, merged_names
from data.dataset.label_files import Labels
from data.dataset.layout import split_level
from data.dataset.listed_paths import match_listed, with_nearest
from data.dataset.splits import LEFT_OUT, Split, SplitRow
from data.errors import DataError


def fit_split(split: Split, root: Path, videos: Sequence[str]) -> tuple[Split, list[str]]:
    """Return the split with the paths that its clips have in the folder `root`, and the videos it does not list.

    Clips that are left out need not exist.

    Args:
        split: lists the clips, in any of the ways that `match_listed` knows.
        root: the data folder.
        videos: paths in it.

    Raises:
        DataError: the folder lacks a clip of the split, or the split lists a clip twice.
    """
    listed = {row.clip.path: (row.clip.label, row.clip.group, row.split) for row in split.rows}
    found, unmatched = match_listed(listed, videos, root, "classes, groups or splits")
    missing = [path for path in unmatched if listed[path][2] != LEFT_OUT]
    if missing:
        used = sum(row.split != LEFT_OUT for row in split.rows)
        near = with_nearest(missing, videos)[0].removeprefix(missing[0])
        raise DataError(
            f"{len(missing)} of the split's {used} clips are not in '{root}', the first is {missing[0]!r}{near}; "
            "put them back, or make a new split"
        )
    rows = {**found, **{path: listed[path] for path in unmatched}}
    fitted = Split(tuple(SplitRow(Clip(path, label, group), part) for path, (label, group, part) in rows.items()))
    return fitted, [path for path in videos if path not in rows]


def check_split_classes(
    split: Split, root: Path, videos: Sequence[str], labels: Labels | None = None, *, merge_classes: bool = False
) -> Split:
    """Return the split, whose classes must agree with the folder or label files and look different.

    Args:
        split: with the paths of the folder.
        root: the data folder.
        videos: paths in it.
        labels: the class of each path; default: a clip must not be in the folder of another class of the split.
        merge_classes: make one class of classes whose names look alike.

    Raises:
        DataError: see above.
    """
    names = merged_names(Counter(row.clip.label for row in split.rows), merge=merge_classes)
    merged = [replace(row.clip, label=names.get(row.clip.label, row.clip.label)) for row in split.rows]
    expected, others = _expected_classes(root, videos, labels)
    known = {alike_key(name) for name in (*expected.values(), *others)}
    for clip, row in zip(merged, split.rows, strict=True):
        wanted = expected.get(clip.path, clip.label)
        if row.split != LEFT_OUT and alike_key(clip.label) != alike_key(wanted) and alike_key(clip.label) in known:
            where = f"'{root}'" if labels is None else "the label file"
            raise DataError(
                f"clip {clip.path!r} is of class {clip.label!r} in the split and of class {wanted!r} in {where}; "
                "correct the wrong one, or make a new split"
            )
    return Split(tuple(SplitRow(clip, row.split) for clip, row in zip(merged, split.rows, strict=True)))


def _expected_classes(root: Path, videos: Sequence[str], labels: Labels | None) -> tuple[Mapping[str, str], set[str]]:
    """Return the class of each video by label files or else by folders, and the names of split folders."""
    if labels is not None:
        rows = match_listed(labels.rows, videos, root, "labels")[0]
        return {path: row.label or "" for path, row in rows.items()}, set()
    folders = {path: path.split("/")[:-1] for path in videos if "/" in path}
    level = split_level(list(folders))
    if level is None:
        return {path: names[0] for path, names in folders.items()}, set()
    classes = {path: names[1 - level] for path, names in folders.items() if len(names) > 1}
    return classes, {names[level] for names in folders.values()}
