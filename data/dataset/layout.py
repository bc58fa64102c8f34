"""Where a folder of clips has its classes and its splits, if it has split folders such as train, val and test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError

FOLDERS = "folders"
"""Value of --split: use the splits of split folders."""
MERGE = "merge"
"""Value of --split: ignore the splits that the clips come with."""

_SPLIT_WORD = re.compile(r"(train|training|valid|val|validation|dev|test|testing)(s|set|sets|split|splits|list|lists)?")
_SPLIT_OF_WORD = dict.fromkeys(("train", "training"), "train") | dict.fromkeys(("test", "testing"), "test")
_PLAIN_WORDS = frozenset(
    ["set", "sets", "split", "splits", "data", "dataset", "clip", "clips", "video", "videos", "folder"]
)
"""Words that a split's folder may have in its name besides, as in `videos_train`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The class of each clip and, if the folder has split folders, its split."""

    labels: Mapping[str, str]
    splits: Mapping[str, str] | None
    notes: tuple[str, ...] = ()
    """What a user should know about it."""


def split_of_folder(name: str) -> str | None:
    """Return train, val or test for a folder named so, such as `Training`, `videos_val` or `test set`, else None."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    found = [_split_of_word(word) for word in words if word not in _PLAIN_WORDS]
    return found[0] if len(found) == 1 else None


def split_of_list(name: str) -> str | None:
    """Return train, val or test for the name of a list, such as `trainlist01` or `kinetics400_val_list_videos`."""
    found = {_split_of_word(word) for word in re.findall(r"[^\W\d_]+", name.casefold())} - {None}
    return found.pop() if len(found) == 1 else None


def _split_of_word(word: str) -> str | None:
    match = _SPLIT_WORD.fullmatch(word)
    return _SPLIT_OF_WORD.get(match[1], "val") if match else None


def split_level(paths: Sequence[str], *, in_classes: bool = True) -> int | None:
    """Return at which level, 0 or 1, all paths are in split folders of two kinds or more; None if at neither.

    At level 1 they must be in two class folders or more, unless the classes are not those of folders (`in_classes`).
    """
    folders = [path.split("/")[:-1] for path in paths]
    for level in (0, 1):
        classes = {names[0] for names in folders if names} if level and in_classes else ()
        if all(len(names) > level for names in folders) and len(classes) != 1:
            found = {split_of_folder(name) for name in {names[level] for names in folders}}
            if len(found) > 1 and None not in found:
                return level
    return None


def find_layout(root: Path, paths: Sequence[str], split: str | None) -> Layout:
    """Find the class of each clip, the name of its top folder, or of the second where split folders come first.

    Args:
        root: the data folder.
        paths: the clips, each in a folder.
        split: FOLDERS or MERGE, how to take split folders; None refuses them.

    Raises:
        DataError: the folder has split folders and `split` is None, or it has none and `split` is not None; a split
            folder has clips that are not in class folders, or there are class folders beside it.
    """
    level = split_level(paths)
    check_split_choice(root, paths, level, split)
    if level is None:
        _refuse_mixed(root, paths)
        return Layout({path: path.partition("/")[0] for path in paths}, None, _note_on_same_folders(paths))
    folders = {path: path.split("/")[:-1] for path in paths}
    loose = [path for path in paths if len(folders[path]) < 2]
    if loose:
        raise DataError(
            f"{len(loose)} of the videos in the split folders of '{root}' are in no class folder, the first is "
            f"{loose[0]!r}; put each into a folder named as its class, list the classes with --labels FILE, or give "
            "the folder of one split"
        )
    splits = {path: split_of_folder(names[level]) or "" for path, names in folders.items()}
    return Layout(
        {path: names[1 - level] for path, names in folders.items()},
        splits if split == FOLDERS else None,
    )


def _note_on_same_folders(paths: Sequence[str]) -> tuple[str, ...]:
    """Return a note if the folders in all top folders have the same names, which may be the classes instead."""
    inside = _folders_inside(paths)
    names = set.intersection(*inside.values())
    if len(names) < 2 or "" in names or any(folders != names for folders in inside.values()):
        return ()
    return (
        f"the classes are the folders at the top ({_some(inside)}), not those below them ({_some(names)}); list the "
        "classes with --labels FILE if it is the other way round",
    )


def _folders_inside(paths: Sequence[str]) -> dict[str, set[str]]:
    """Return the names of the folders in each top folder that have clips; an empty name stands for clips in itself."""
    inside: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        names = path.split("/")
        inside[names[0]].add(names[1] if len(names) > 2 else "")
    return dict(inside)


def _some(names: Iterable[str]) -> str:
    first = sorted(names)
    return ", ".join(first[:3]) + (", …" if len(first) > 3 else "")


def check_split_choice(root: Path, paths: Sequence[str], level: int | None, split: str | None) -> None:
    """Check that the user says what to do with split folders where there are some, and nowhere else.

    Raises:
        DataError: see `find_layout`.
    """
    if level is None and split is not None:
        raise DataError(
            f"--split {split} has no effect: '{root}' has no split folders such as train, val and test; leave it out"
        )
    if level is not None and split is None:
        names = sorted({path.split("/")[level] for path in paths})
        raise DataError(
            f"'{root}' has split folders ({', '.join(names[:4])}): give --split {FOLDERS} to use these splits, or "
            f"--split {MERGE} to ignore them"
        )


def _refuse_mixed(root: Path, paths: Sequence[str]) -> None:
    """Raise DataError if class folders are beside a split folder: a folder named as one, with folders in it alone."""
    inside = _folders_inside(paths)
    nested = [name for name, folders in sorted(inside.items()) if len(folders) > 1 and "" not in folders]
    splits = [name for name in nested if split_of_folder(name)]
    others = sorted(inside.keys() - set(splits))
    if splits and others:
        raise DataError(
            f"{splits[0]!r} in '{root}' looks like a split folder, and {others[0]!r} beside it like a class; move one "
            f"elsewhere, rename {splits[0]!r} if it is a class, or list the classes with --labels FILE"
        )
