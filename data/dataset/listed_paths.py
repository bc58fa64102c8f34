"""Find the clips that a file of groups, labels or splits means by its paths, though they may be written differently."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from data.errors import DataError

T = TypeVar("T")

_SHOWN = 3
_MOST_COMPARED = 4000
"""Comparing a path with more clips would take seconds."""


def match_listed(
    listed: Mapping[str, T], paths: Sequence[str], root: Path, what: str
) -> tuple[dict[str, T], tuple[str, ...]]:
    """Return the value of each clip that is listed, and the sorted listed paths that are no clip.

    A path means the clip of the same name or else the only clip that differs from it in how letters with accents are
    coded, in `\\` for `/`, in `./`, or in the name of the data folder (and folders above it) at the start.

    Args:
        listed: value of each path, as a file has it.
        paths: the clips, relative to the data folder.
        root: the data folder.
        what: names the values in an error.

    Raises:
        DataError: two listed paths mean one clip and have different values.
    """
    find = _Finder(paths, root)
    found: dict[str, T] = {}
    listed_as: dict[str, str] = {}
    unmatched = []
    for path, value in listed.items():
        clip = find(path)
        if clip is None:
            unmatched.append(path)
        elif found.setdefault(clip, value) != value:
            raise DataError(
                f"{listed_as[clip]!r} and {path!r} are one clip, {clip!r}, but have different {what}; keep one of them"
            )
        else:
            listed_as[clip] = path
    return found, tuple(sorted(unmatched))


def with_nearest(unmatched: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return the names of files that are not clips, the first of them with the clip whose path is nearest."""
    texts = []
    for name in unmatched[:_SHOWN]:
        near = nearest_path(name, paths)
        texts.append(f"{name} (nearest: {near})" if near else name)
    return [*texts, *unmatched[_SHOWN:]]


def nearest_path(name: str, paths: Sequence[str]) -> str | None:
    """Return the clip whose path is most like `name`; if none is like it, one with the same file name."""
    wanted = "/".join(_parts(name))
    last = _file_name(wanted)
    same = [path for path in paths if _file_name(path) == last]
    pool = [*same[:_MOST_COMPARED], *paths[:_MOST_COMPARED]]
    return next(iter(difflib.get_close_matches(wanted, pool, n=1) or same), None)


class _Finder:
    """Finds the clip that a listed path means."""

    def __init__(self, paths: Sequence[str], root: Path) -> None:
        self._paths = frozenset(paths)
        self._by_parts: dict[tuple[str, ...], str | None] = {}
        for path in paths:
            parts = _parts(path)
            self._by_parts[parts] = None if parts in self._by_parts else path
        folders = (os.path.abspath(root), os.path.realpath(root))
        self._root_names = {unicodedata.normalize("NFC", os.path.basename(folder)) for folder in folders}

    def __call__(self, listed: str) -> str | None:
        if listed in self._paths:
            return listed
        return next(filter(None, map(self._by_parts.get, self._readings(_parts(listed)))), None)

    def _readings(self, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """Yield the parts as they are, then what follows each folder that has the name of the data folder."""
        if ".." in parts:
            return
        yield parts
        for index, part in enumerate(parts):
            if part in self._root_names:
                yield parts[index + 1 :]


def _parts(path: str) -> tuple[str, ...]:
    parts: Iterable[str] = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", "."))


def _file_name(path: str) -> str:
    return unicodedata.normalize("NFC", path).rpartition("/")[2].casefold()
