"""Which clips show one recording, where nobody has said so: from pictures, from file names, from identical files.

Clips filmed in one room are joined by average linkage of their scenes (`data/quality/scenes.py`): a clip joins a group
if it is like the group as a whole, so that a chain of pairs, each alike, does not join what is unlike. A missed link
leaks test clips into training; a false one only costs balance: in doubt clips are joined.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from tqdm import tqdm

from data.clip import Clip
from data.dataset.file_names import group_by_file_name
from data.dataset.same_bytes import find_copies
from data.files import write_atomically
from data.quality.scenes import Scenes
from data.quality.similarity import Signature, near_duplicates
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore

LARGE_SHARE = 0.5
"""A group that holds more of a class than this is named: its scenes may be too plain to tell apart."""

_ROWS = 512


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """Why two clips are in one group."""

    first: str
    second: str
    """`first < second`."""
    evidence: str
    """`same bytes`, `near-duplicate`, `same scene` or `file names`."""
    score: float
    """From 0, barely, to 1, beyond doubt."""

    def seen_from(self, path: str) -> str:
        """The evidence as said of one of the two."""
        return f"{self.evidence} as {self.second if path == self.first else self.first}"


@dataclass(frozen=True)
class Grouping:
    """Groups as found."""

    groups: Mapping[str, str]
    """Each clip's path to its group, which bears the name of its first clip."""
    links: tuple[Link, ...]
    """Sorted; for each clip of a group of several at least one."""
    labels: Mapping[str, str]
    """Each clip's path to its class."""

    def grouped(self, clips: Iterable[Clip]) -> list[Clip]:
        """The clips with their groups as found."""
        return [replace(clip, group=self.groups[clip.path]) for clip in clips]

    def members(self) -> dict[str, list[str]]:
        """The sorted paths of each group, the largest group first."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(self.groups):
            found[self.groups[path]].append(path)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    def best_links(self) -> dict[str, Link]:
        """The surest link of each clip that has any."""
        best: dict[str, Link] = {}
        for link in self.links:
            for end in (link.first, link.second):
                if end not in best or link.score > best[end].score:
                    best[end] = link
        return best

    def large(self) -> list[str]:
        """Sentences that name groups which hold most of a class."""
        classes = Counter(self.labels.values())
        shared = Counter((group, self.labels[path]) for path, group in self.groups.items())
        return [
            f"Group {group!r} holds {count} of the {classes[label]} clips of class {label!r}: are they one recording?"
            for (group, label), count in sorted(shared.items())
            if count > LARGE_SHARE * classes[label] and count > 1
        ]

    def sentence(self) -> str:
        """What was found, in a line."""
        members = self.members()
        several = [paths for paths in members.values() if len(paths) > 1]
        together = sum(map(len, several))
        largest = max(map(len, members.values()))
        return (
            f"{len(members)} groups among {len(self.groups)} clips; {together} clips share a group with another, the "
            f"largest group has {largest}."
        )


def find_groups(
    clips: Sequence[Clip],
    build: BuildReport,
    store: FrameStore,
    signatures: Mapping[str, Signature],
    *,
    progress: bool = True,
) -> Grouping:
    """Group clips that seem to show one recording; the groups that clips bear already count for nothing.

    Args:
        clips: the clips.
        build: of the store, with these clips; one that gave no frames is a group of its own unless its name or bytes
            tell more.
        store: holds their frames.
        signatures: of `build`, by digest.
        progress: show a bar.
    """
    paths = [clip.path for clip in sorted(clips)]
    known = {path: number for number, path in enumerate(paths)}
    digests = {path: digest for path, digest in build.digests().items() if path in known}
    seen = [path for path in paths if path in digests]
    scenes, looks = Scenes.empty(len(seen)), {path: signatures[digests[path]] for path in seen}
    for row, path in enumerate(tqdm(seen, desc="scenes", unit="clip", disable=not progress)):
        scenes.put(row, store.read(digests[path]))
    links = [
        *(Link(a, b, "same bytes", 1.0) for same in find_copies(digests) for a, b in pairwise(same)),
        *(Link(p.first, p.second, "near-duplicate", 1.0 - p.distance) for p in near_duplicates(looks)),
        *(Link(a, b, "file names", 0.5) for same in group_by_file_name(clips).values() for a, b in pairwise(same)),
        *_scene_links(seen, scenes),
    ]
    part = _components(len(paths), [(known[link.first], known[link.second]) for link in links])
    first: dict[int, str] = {}
    for path, number in zip(paths, part, strict=True):
        first.setdefault(int(number), path)
    groups = {path: first[int(number)] for path, number in zip(paths, part, strict=True)}
    return Grouping(groups, tuple(sorted(links)), {clip.path: clip.label for clip in clips})


def _scene_links(paths: Sequence[str], scenes: Scenes) -> Iterator[Link]:
    """Of each clip in a scene with others, the link to the one that it is most like."""
    for rows in _near(scenes):
        distances = scenes.distances(rows, rows).astype(np.float64)
        distances = (distances + distances.T) / 2
        np.fill_diagonal(distances, 0)
        cluster = fcluster(linkage(squareform(distances, checks=False), "average"), 1.0, "distance")
        for number in np.unique(cluster):
            inside = np.flatnonzero(cluster == number)
            yield from _tree(paths, rows[inside], distances[np.ix_(inside, inside)])


def _tree(paths: Sequence[str], rows: np.ndarray, distances: np.ndarray) -> Iterator[Link]:
    """Each clip but the first linked to the nearest before it."""
    for place in range(1, len(rows)):
        nearest = int(distances[place, :place].argmin())
        score = float(np.clip(1 - distances[place, nearest] / 2, 0, 1))
        first, second = sorted((paths[rows[nearest]], paths[rows[place]]))
        yield Link(first, second, "same scene", score)


def _near(scenes: Scenes) -> Iterator[np.ndarray]:
    """Rows that a chain of like pairs joins, two or more: average linkage can't join beyond them."""
    count = len(scenes)
    pairs: list[tuple[int, int]] = []
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        first, second = np.nonzero(scenes.distances(rows, slice(None)) <= 1)
        ordered = rows[first] < second
        pairs += zip(rows[first[ordered]].tolist(), second[ordered].tolist(), strict=True)
    part = _components(count, pairs)
    for number in np.flatnonzero(np.bincount(part, minlength=1) > 1):
        yield np.flatnonzero(part == number)


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Number of the part that each of `count` nodes is in, int32 `(count,)`."""
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    return connected_components(coo_array((np.ones(len(pairs), bool), (first, second)), shape=(count, count)))[1]


def write_groups(grouping: Grouping, path: Path) -> None:
    """Write a CSV that a person can correct and `read_groups` reads: path, group, and the best evidence for it.

    Raises:
        DataError: it can't be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "group", "evidence", "confidence"])
    best = grouping.best_links()
    for clip, group in sorted(grouping.groups.items()):
        link = best.get(clip)
        writer.writerow([clip, group, *((link.seen_from(clip), f"{link.score:.2f}") if link else ("", ""))])
    write_atomically(path, text.getvalue())


def pair_scores(found: Mapping[str, str], truth: Mapping[str, str]) -> tuple[float, float]:
    """Precision and recall over pairs of clips: of pairs put together how many belong so, and the other way round.

    Both are 1 where there is no such pair. Clips that `truth` does not name don't count.
    """
    both = Counter((group, truth[path]) for path, group in found.items() if path in truth)
    ours, theirs = Counter[str](), Counter[str]()
    for (group, source), count in both.items():
        ours[group] += count
        theirs[source] += count
    right, put, belong = (sum(n * (n - 1) // 2 for n in counts.values()) for counts in (both, ours, theirs))
    return (right / put if put else 1.0, right / belong if belong else 1.0)
