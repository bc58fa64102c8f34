"""Groups of clips that show one recording, found from pictures, file names and identical files.

Clips filmed in one room are joined by average linkage of their scenes (`data/quality/scenes.py`): a clip joins a group
if it is similar to the group as a whole, so that a chain of similar pairs does not join clips that differ. In doubt
clips are joined: a missed link leaks test clips into training, a false one only makes the split less balanced.
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
from data.quality.similarity import Signature, find_near_duplicates
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore

LARGE_SHARE = 0.5
"""A group with more than this share of a class gets a warning: its scenes may be too plain to be distinguished."""

_ROWS = 512
"""Clips compared with all others per step, which limits the memory."""


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """Evidence that two clips belong to one group."""

    first: str
    second: str
    """`first < second`."""
    evidence: str
    """`same bytes`, `near-duplicate`, `same scene` or `file names`."""
    score: float
    """Confidence, 0 to 1."""

    def evidence_for(self, path: str) -> str:
        """Return the evidence for one of the two clips, with the name of the other."""
        return f"{self.evidence} as {self.second if path == self.first else self.first}"


@dataclass(frozen=True)
class Grouping:
    """Groups that were found."""

    groups: Mapping[str, str]
    """Path of each clip to its group, which is named after its first clip."""
    links: tuple[Link, ...]
    """Sorted; at least one for each clip that shares its group."""
    labels: Mapping[str, str]
    """Path of each clip to its class."""

    def regroup(self, clips: Iterable[Clip]) -> list[Clip]:
        """Return the clips with the groups that were found."""
        return [replace(clip, group=self.groups[clip.path]) for clip in clips]

    def members(self) -> dict[str, list[str]]:
        """Return the sorted paths of each group, the largest group first."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(self.groups):
            found[self.groups[path]].append(path)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    def best_links(self) -> dict[str, Link]:
        """Return the link with the highest score of each clip that has one."""
        best: dict[str, Link] = {}
        for link in self.links:
            for end in (link.first, link.second):
                if end not in best or link.score > best[end].score:
                    best[end] = link
        return best

    def warnings(self) -> list[str]:
        """Return a sentence on each group that has most clips of a class."""
        classes = Counter(self.labels.values())
        shared = Counter((group, self.labels[path]) for path, group in self.groups.items())
        return [
            f"Group {group!r} has {count} of the {classes[label]} clips of class {label!r}; check whether they are one "
            "recording."
            for (group, label), count in sorted(shared.items())
            if count > LARGE_SHARE * classes[label] and count > 1
        ]

    def summary(self) -> str:
        """Return the number of groups and the size of the largest one in a sentence."""
        sizes = [len(paths) for paths in self.members().values()]
        sharing = sum(size for size in sizes if size > 1)
        return (
            f"{len(self.groups)} clips in {len(sizes)} groups; {sharing} clips share a group with another clip, the "
            f"largest group has {max(sizes)}."
        )


def find_groups(
    clips: Sequence[Clip],
    build: BuildReport,
    store: FrameStore,
    signatures: Mapping[str, Signature],
    *,
    progress: bool = True,
) -> Grouping:
    """Group clips that seem to show one recording; their present groups are ignored.

    Args:
        clips: to be grouped.
        build: of the store, with these clips. A clip without frames is grouped by its name and bytes alone.
        store: holds their frames.
        signatures: of `build`, by digest.
        progress: show a progress bar.
    """
    paths = [clip.path for clip in sorted(clips)]
    index = {path: number for number, path in enumerate(paths)}
    digests = {path: digest for path, digest in build.digests().items() if path in index}
    stored = [path for path in paths if path in digests]
    scenes = Scenes.empty(len(stored))
    for row, path in enumerate(tqdm(stored, desc="scenes", unit="clip", disable=not progress)):
        scenes.set_row(row, store.read(digests[path]))
    near = find_near_duplicates({path: signatures[digests[path]] for path in stored})
    links = [
        *(Link(a, b, "same bytes", 1.0) for same in find_copies(digests) for a, b in pairwise(same)),
        *(Link(pair.first, pair.second, "near-duplicate", 1.0 - pair.distance) for pair in near),
        *(Link(a, b, "file names", 0.5) for same in group_by_file_name(clips).values() for a, b in pairwise(same)),
        *_scene_links(stored, scenes),
    ]
    components = _components(len(paths), [(index[link.first], index[link.second]) for link in links])
    names: dict[int, str] = {}
    for path, component in zip(paths, components, strict=True):
        names.setdefault(int(component), path)
    groups = {path: names[int(component)] for path, component in zip(paths, components, strict=True)}
    return Grouping(groups, tuple(sorted(links)), {clip.path: clip.label for clip in clips})


def _scene_links(paths: Sequence[str], scenes: Scenes) -> Iterator[Link]:
    """Yield links that connect the clips of each scene; the paths are those of the rows of `scenes`."""
    for rows in _candidates(scenes):
        distances = scenes.distances(rows, rows).astype(np.float64)
        distances = (distances + distances.T) / 2
        np.fill_diagonal(distances, 0)
        clusters = fcluster(linkage(squareform(distances, checks=False), "average"), 1.0, "distance")
        for cluster in np.unique(clusters):
            inside = np.flatnonzero(clusters == cluster)
            yield from _spanning_links(paths, rows[inside], distances[np.ix_(inside, inside)])


def _spanning_links(paths: Sequence[str], rows: np.ndarray, distances: np.ndarray) -> Iterator[Link]:
    """Yield a link from each clip but the first to the nearest clip before it."""
    for position in range(1, len(rows)):
        nearest = int(distances[position, :position].argmin())
        score = float(np.clip(1 - distances[position, nearest] / 2, 0, 1))
        first, second = sorted((paths[rows[nearest]], paths[rows[position]]))
        yield Link(first, second, "same scene", score)


def _candidates(scenes: Scenes) -> Iterator[np.ndarray]:
    """Yield the rows of each chain of similar pairs; average linkage never joins clips of different chains."""
    count = len(scenes)
    pairs: list[tuple[int, int]] = []
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        first, second = np.nonzero(scenes.distances(rows, slice(None)) <= 1)
        ordered = rows[first] < second
        pairs += zip(rows[first[ordered]].tolist(), second[ordered].tolist(), strict=True)
    components = _components(count, pairs)
    for component in np.flatnonzero(np.bincount(components, minlength=1) > 1):
        yield np.flatnonzero(components == component)


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the connected component of each of `count` nodes, int32 `(count,)`."""
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    return connected_components(coo_array((np.ones(len(pairs), bool), (first, second)), shape=(count, count)))[1]


def write_groups(grouping: Grouping, path: Path) -> None:
    """Write path, group, and the best evidence for it as CSV, for the user to correct and `read_groups` to read.

    Raises:
        DataError: the file can't be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "group", "evidence", "confidence"])
    best = grouping.best_links()
    for clip, group in sorted(grouping.groups.items()):
        link = best.get(clip)
        writer.writerow([clip, group, *((link.evidence_for(clip), f"{link.score:.2f}") if link else ("", ""))])
    write_atomically(path, text.getvalue())


def pair_scores(found: Mapping[str, str], truth: Mapping[str, str]) -> tuple[float, float]:
    """Return precision and recall over pairs of clips that are in one group; each is 1 if there is no such pair.

    Args:
        found: group of each path, to be scored.
        truth: true group of each path; clips without one don't count.
    """
    both = Counter((group, truth[path]) for path, group in found.items() if path in truth)
    by_group, by_truth = Counter[str](), Counter[str]()
    for (group, true_group), count in both.items():
        by_group[group] += count
        by_truth[true_group] += count
    correct, joined, true = (sum(n * (n - 1) // 2 for n in counts.values()) for counts in (both, by_group, by_truth))
    return (correct / joined if joined else 1.0, correct / true if true else 1.0)
