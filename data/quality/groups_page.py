"""Contact sheets of the groups that were found, on one page, so that a person can see what to correct."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.files import write_atomically
from data.page import load_template, sampled_strip
from data.quality.grouping import Grouping, Link
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore

MOST_A_GROUP = 24
"""Clips shown of one group; the CSV has all."""

_FRAMES, _HEIGHT = 3, 72


@dataclass(frozen=True, slots=True)
class ShownClip:
    """One clip of a group."""

    path: str
    image: str
    """A JPEG as data URI; empty where the clip has no frames."""
    evidence: str
    """Why it is in the group."""


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """One contact sheet."""

    name: str
    count: int
    evidence: str
    """How many links of each kind hold it together."""
    clips: tuple[ShownClip, ...]


def write_groups_page(
    grouping: Grouping, build: BuildReport, store: FrameStore, path: Path, *, notes: tuple[str, ...] = ()
) -> None:
    """Write a contact sheet of each group of two clips or more, the largest first: one file without references.

    Args:
        grouping: the groups.
        build: of the store, with these clips.
        store: holds their frames.
        path: of the page.
        notes: sentences for its top.

    Raises:
        DataError: the page can't be written.
    """
    members = {name: paths for name, paths in grouping.members().items() if len(paths) > 1}
    page = load_template(Path(__file__).with_name("groups_page.html.j2")).render(
        sentence=grouping.sentence(),
        notes=[*grouping.large(), *notes],
        groups=list(_groups(members, grouping, build, store)),
        single=len(set(grouping.groups.values())) - len(members),
    )
    write_atomically(path, page)


def _groups(
    members: dict[str, list[str]], grouping: Grouping, build: BuildReport, store: FrameStore
) -> Iterator[ShownGroup]:
    digests = build.digests()
    links: defaultdict[str, list[Link]] = defaultdict(list)
    for link in grouping.links:
        links[grouping.groups[link.first]].append(link)
    best = grouping.best_links()
    for name, paths in members.items():
        shown = tuple(
            ShownClip(
                path,
                sampled_strip(store.read(digests[path]), _FRAMES, _HEIGHT) if path in digests else "",
                best[path].seen_from(path) if path in best else "",
            )
            for path in paths[:MOST_A_GROUP]
        )
        kinds = Counter(link.evidence for link in links[name])
        evidence = ", ".join(f"{count} by {kind}" for kind, count in kinds.most_common())
        yield ShownGroup(name, len(paths), evidence, shown)
