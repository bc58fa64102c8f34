"""Files with the same bytes, and how their groups are merged so that they end up in one split."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.clip import Clip
from data.files import file_sha256


def find_copies(digests: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the paths of each digest that two or more files have, sorted.

    Args:
        digests: path to SHA-256 of the file's bytes.
    """
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for path, digest in digests.items():
        paths[digest].append(path)
    return sorted(tuple(sorted(same)) for same in paths.values() if len(same) > 1)


def find_copies_on_disk(root: Path, paths: Iterable[str]) -> list[tuple[str, ...]]:
    """Return what `find_copies` returns, reading only files of equal size; ignore empty and unreadable files."""
    sizes: defaultdict[int, list[str]] = defaultdict(list)
    for path in paths:
        with contextlib.suppress(OSError):
            sizes[(root / path).stat().st_size].append(path)
    digests: dict[str, str] = {}
    for size, same in sizes.items():
        for path in same if size and len(same) > 1 else ():
            with contextlib.suppress(OSError):
                digests[path] = file_sha256(root / path)
    return find_copies(digests)


def merge_groups_of_copies(clips: Sequence[Clip], copies: Iterable[Sequence[str]]) -> list[Clip]:
    """Return the clips with all groups that share a file merged into one, named as the first of them.

    Args:
        clips: with their groups.
        copies: sets of paths with the same bytes.
    """
    names = sorted({clip.group for clip in clips})
    number = {name: i for i, name in enumerate(names)}
    group_of = {clip.path: number[clip.group] for clip in clips}
    pairs = [(group_of[same[0]], group_of[path]) for same in copies for path in same[1:]]
    if not pairs:
        return list(clips)
    first, second = np.array(pairs).T
    links = coo_array((np.ones(len(pairs)), (first, second)), shape=(len(names), len(names)))
    component = connected_components(links, directed=False)[1]
    merged = {int(label): names[index] for index, label in reversed(list(enumerate(component)))}
    return [replace(clip, group=merged[int(component[number[clip.group]])]) for clip in clips]
