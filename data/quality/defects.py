"""Defects of clips, from the facts of their decoding, from their stored frames, and from copies of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from tqdm import tqdm

from data.clip import Clip
from data.errors import DataError
from data.quality.motion import block_means, count_black_frames, largest_change, largest_shift
from data.quality.similarity import Signature, find_near_duplicates
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from data.video.decode import ClipFacts


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


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds from which a clip is suspect. The defaults for `still` and `black` were chosen by viewing clips."""

    min_seconds: float = 0.5
    """A shorter clip is `too short`."""

    max_seconds: float = 60.0
    """A longer clip is `too long`."""

    black_level: float = 24.0
    """0 to 255: a frame is black if hardly any of it is brighter than this in any colour. Video black is 0 or 16."""

    black_share: float = 0.8
    """A clip is `black` if at least this share of its frames is. A clip that fades in is not."""

    still_levels: float = 12.0
    """0 to 255: something moves if the brightness of a small block changes by more than this. Compression changes it by
    up to 10."""

    still_shift: float = 0.05
    """Stored pixels: something moves if a part of the picture shifts by more than this. At a short side of 128, a trunk
    that moves by 4 of 720 lines in breathing measures 0.26 and more, a strongly compressed photograph up to 0.04."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise DataError(f"the limit {field.name} is {value}; give a number of 0 or more")
        if self.min_seconds >= self.max_seconds:
            raise DataError(
                f"no clip is at least {self.min_seconds:g} s and at most {self.max_seconds:g} s long; "
                "give a shortest length below the longest"
            )
        if self.black_level >= 255 or self.still_levels >= 255:
            raise DataError("black_level and still_levels must be below 255, the highest brightness")
        if not 0 < self.black_share <= 1:
            raise DataError(f"the limit black_share is {self.black_share:g}; give a number above 0 and at most 1")


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
        found = _own_defects(stored[paths[0]].facts, np.asarray(store.read(digest)), limits)
        defects += [Defect(path, name, detail) for path in paths for name, detail in found.items()]
        if "black" not in found:
            visible[paths[0]] = signatures[digest]
    defects += _defects_of_copies(labels, copies.values(), visible)
    return sorted(defects)


def _own_defects(facts: ClipFacts, frames: np.ndarray, limits: Limits) -> dict[str, str]:
    """Return name and detail of the defects that a clip has by itself."""
    found = dict(defects_of_file(facts, limits)) | dict(defects_of_frames(frames, limits))
    if "one frame" in found:
        return {name: detail for name, detail in found.items() if name not in ("still", "too short")}
    return found


def defects_of_file(facts: ClipFacts, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield name and detail of the defects that the facts of a clip's decoding show."""
    if facts.damage:
        yield "truncated", facts.damage
    if facts.frames == 1 and not facts.sought:
        yield "one frame", "it has a single frame"
    if facts.duration < limits.min_seconds:
        yield "too short", f"it lasts {facts.duration:.2f} s, less than {limits.min_seconds:g} s"
    if facts.duration > limits.max_seconds:
        yield "too long", f"it lasts {facts.duration:.0f} s, more than {limits.max_seconds:g} s"


def defects_of_frames(frames: np.ndarray, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield name and detail of the defects that stored frames, uint8 `(F, H, W, 3)`, show.

    A single frame is never `still`.
    """
    blocks = block_means(frames)
    black = count_black_frames(blocks, limits.black_level)
    if black >= limits.black_share * len(frames):
        yield "black", f"{black} of the {len(frames)} stored frames are black"
    elif len(frames) > 1 and not _moves(frames, blocks, limits):
        yield "still", f"nothing moves in the {len(frames)} stored frames"


def _moves(frames: np.ndarray, blocks: np.ndarray, limits: Limits) -> bool:
    return largest_change(blocks) > limits.still_levels or largest_shift(frames) > limits.still_shift


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
