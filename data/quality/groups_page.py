"""Page with contact sheets of the groups that were found, so that a person can see what to correct."""

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

MAX_CLIPS_PER_GROUP = 24
"""Clips shown of one group; the CSV has all."""

_FRAMES, _HEIGHT = 3, 72


@dataclass(frozen=True, slots=True)
class GroupedClip:
    """One clip of a contact sheet."""

    path: str
    image: str
    """A JPEG as data URI; empty if the clip has no frames."""
    evidence: str
    """Why it is in the group."""


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """The clips of one group."""

    name: str
    count: int
    evidence: str
    """The number of links of each kind."""
    clips: tuple[GroupedClip, ...]


def write_groups_page(
    grouping: Grouping, build: BuildReport, store: FrameStore, path: Path, *, notes: tuple[str, ...] = ()
) -> None:
    """Write a contact sheet of each group of two or more clips, the largest first, as one self-contained HTML file.

    Args:
        grouping: the groups.
        build: of the store, with these clips.
        store: holds their frames.
        path: of the page.
        notes: sentences for the top of the page.

    Raises:
        DataError: the page can't be written.
    """
    members = {name: paths for name, paths in grouping.members().items() if len(paths) > 1}
    page = load_template(Path(__file__).with_name("groups_page.html.j2")).render(
        summary=grouping.summary(),
        notes=[*grouping.warnings(), *notes],
        sheets=list(_contact_sheets(members, grouping, build, store)),
        single=len(set(grouping.groups.values())) - len(members),
    )
    write_atomically(path, page)


def _contact_sheets(
    members: dict[str, list[str]], grouping: Grouping, build: BuildReport, store: FrameStore
) -> Iterator[ContactSheet]:
    digests = build.digests()
    links: defaultdict[str, list[Link]] = defaultdict(list)
    for link in grouping.links:
        links[grouping.groups[link.first]].append(link)
    best = grouping.best_links()
    for name, paths in members.items():
        clips = tuple(
            GroupedClip(
                path,
                sampled_strip(store.read(digests[path]), _FRAMES, _HEIGHT) if path in digests else "",
                best[path].evidence_for(path) if path in best else "",
            )
            for path in paths[:MAX_CLIPS_PER_GROUP]
        )
        kinds = Counter(link.evidence for link in links[name])
        evidence = ", ".join(f"{count} by {kind}" for kind, count in kinds.most_common())
        yield ContactSheet(name, len(paths), evidence, clips)
