"""Defects of clips: those that each has by itself, and those of copies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from data.clip import Clip
from data.quality.clip_defects import defects_of_clip
from data.quality.limits import Limits
from data.quality.similarity import Signature, find_near_duplicates
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore


@dataclass(frozen=True, slots=True)
class DefectKind:
    """A kind of defect."""

    name: str
    meaning: str
    """A sentence without its full stop."""
    remedy: str
    """What the user can do about it."""


DEFECT_KINDS = (
    DefectKind("unreadable", "FFmpeg can't decode any frame", "download or export it again, or remove it"),
    DefectKind("no video stream", "It has only sound or text", "replace it with the video, or remove it"),
    DefectKind(
        "truncated",
        "Only some of its frames decode",
        "copy it again from its source; otherwise, if at least half of it is left, the sweep uses that",
    ),
    DefectKind("one frame", "It is a picture, not a clip", "replace it with the video, or remove it"),
    DefectKind("black", "Nothing is visible", "remove it"),
    DefectKind("still", "Nothing moves", "check it: a photograph or a frozen recording shows no movement"),
    DefectKind("too short", "It ends before an exercise can be seen", "remove it, or lower the limit (--min-seconds)"),
    DefectKind(
        "too long",
        "Its stored frames are so far apart that they miss the movement",
        "cut it into parts, or raise the limit (--max-seconds)",
    ),
    DefectKind("two labels", "The same clip is in two classes", "keep the one in the right class, remove the other"),
    DefectKind("duplicate", "Another file has the same bytes", "remove one of the two, or put both into one group"),
    DefectKind(
        "near-duplicate",
        "Another file shows almost the same pictures at the same times, like a re-encoded copy",
        "compare them, then remove one of the two, or put both into one group",
    ),
)
"""All kinds of defects, the most serious first."""

OK, SUSPECT, UNUSABLE = "ok", "suspect", "unusable"
"""Status of a clip: without defects; with defects and with frames; without frames, whatever its defect."""


@dataclass(frozen=True, slots=True, order=True)
class Defect:
    """One defect of one clip."""

    path: str
    name: str
    """Name of one of DEFECT_KINDS."""
    detail: str
    """What was measured, in words."""
    other: str = ""
    """For copies, the path of the clip that this one copies or contradicts."""


def find_defects(
    clips: Sequence[Clip],
    build: BuildReport,
    store: FrameStore,
    signatures: Mapping[str, Signature],
    limits: Limits,
    *,
    progress: bool = False,
) -> list[Defect]:
    """Find the defects of clips, reading the frames of each stored clip once.

    A clip has each defect at most once, and none that follows from another: a clip with one frame is not also `still`
    and `too short`, a black clip is not also `still`. Of copies, all but the first by path are reported; for `two
    labels` all are, since the right label is unknown.

    Args:
        clips: to check.
        build: result of the store's build; clips that are not in it are not checked.
        store: holds the frames of `build`.
        signatures: of `build`, by digest.
        limits: thresholds from which a clip is suspect.
        progress: show a progress bar.

    Returns:
        The defects, sorted by path and name.

    Raises:
        DataError: the store lacks a clip's frames.
    """
    labels = {clip.path: clip.label for clip in sorted(clips)}
    stored = {clip.path: clip for clip in build.stored if clip.path in labels}
    copies: defaultdict[str, list[str]] = defaultdict(list)
    for path in labels:
        if path in stored:
            copies[stored[path].digest].append(path)
    defects = [Defect(clip.path, clip.defect, clip.reason) for clip in build.failed if clip.path in labels]
    visible: dict[str, Signature] = {}
    for digest, paths in tqdm(copies.items(), desc="checks", unit="clip", disable=not progress):
        found = defects_of_clip(stored[paths[0]].facts, np.asarray(store.read(digest)), limits)
        defects += [Defect(path, name, detail) for path in paths for name, detail in found.items()]
        if "black" not in found:
            visible[paths[0]] = signatures[digest]
    defects += _defects_of_copies(labels, copies.values(), visible)
    return sorted(defects)


def _defects_of_copies(
    labels: Mapping[str, str], copies: Iterable[list[str]], signatures: Mapping[str, Signature]
) -> Iterator[Defect]:
    """Yield the defects of clips that another clip repeats.

    Args:
        labels: of each path.
        copies: sorted paths of files with the same bytes, for all files.
        signatures: of the first path of each, for those whose pictures are compared.
    """
    same_bytes = {paths[0]: paths for paths in copies}
    near: defaultdict[str, set[str]] = defaultdict(set)
    nearest: dict[str, tuple[float, str]] = {}
    for pair in find_near_duplicates(signatures):
        near[pair.first].add(pair.second)
        near[pair.second].add(pair.first)
        nearest[pair.second] = min(nearest.get(pair.second, (math.inf, "")), (pair.distance, pair.first))
    for path, (distance, other) in nearest.items():
        detail = f"it shows the same as {other} throughout ({distance:.0%} of the hash bits differ)"
        yield Defect(path, "near-duplicate", detail, other)
    for first, paths in same_bytes.items():
        for path in paths[1:]:
            yield Defect(path, "duplicate", f"it has the same bytes as {first}", first)
        alike = sorted(paths + [copy for other in near[first] for copy in same_bytes[other]])
        for path in paths:
            for other in [other for other in alike if labels[other] != labels[path]][:1]:
                yield Defect(path, "two labels", f"it is also in class {labels[other]!r}, as {other}", other)


def clip_status(has_frames: bool, defects: Sequence[Defect]) -> str:
    """Return the status of a clip with these defects: OK, SUSPECT or UNUSABLE."""
    if not has_frames:
        return UNUSABLE
    return SUSPECT if defects else OK
