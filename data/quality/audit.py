"""A folder of clips looked at before anyone trains on it: what each file is, what is wrong with it, and the CSV."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tabulate import tabulate

from data.clip import Clip
from data.dataset.clips import scan_clips
from data.errors import DataError
from data.files import file_sha256, write_atomically
from data.quality.defects import DEFECT_KINDS, OK, SUSPECT, UNUSABLE, Defect, Limits, clip_status, find_defects
from data.quality.grouping import find_groups
from data.quality.leakage import measure_leakage
from data.quality.similarity import find_signatures
from data.store.build_report import StoredClip
from data.store.frame_store import FrameStore
from data.video.decode import ClipFacts

_COLUMNS = (
    "path",
    "class",
    "container",
    "codec",
    "width",
    "height",
    "rotation",
    "fps",
    "variable_rate",
    "frames",
    "duration",
    "sha256",
    "status",
    "reason",
)


@dataclass(frozen=True, slots=True)
class AuditedClip:
    """What the audit found out about one file."""

    path: str
    label: str
    digest: str
    """SHA-256 of the file's bytes, hexadecimal; empty where it can't be read."""
    facts: ClipFacts | None
    """None where the file gives no frames."""
    defects: tuple[Defect, ...]

    @property
    def status(self) -> str:
        """OK, SUSPECT or UNUSABLE."""
        return clip_status(self.facts is not None, self.defects)

    @property
    def reason(self) -> str:
        """Each defect with its detail; empty where the clip is ok."""
        return "; ".join(f"{defect.name}: {defect.detail}" for defect in self.defects)


@dataclass(frozen=True)
class Audit:
    """What a folder of clips holds."""

    root: Path
    clips: tuple[AuditedClip, ...]
    """Sorted by path."""
    ignored: tuple[str, ...]
    """What lies in class folders and is no video."""
    decoded: int
    """Clips decoded by this audit; the frames of the others were in the store."""
    leakage: str = ""
    """What a random split would claim here against one by groups; empty where fewer than two classes have frames."""

    @cached_property
    def classes(self) -> dict[str, list[AuditedClip]]:
        """The clips of each class, by name."""
        found: defaultdict[str, list[AuditedClip]] = defaultdict(list)
        for clip in sorted(self.clips, key=lambda clip: (clip.label, clip.path)):
            found[clip.label].append(clip)
        return dict(found)

    @cached_property
    def statuses(self) -> dict[str, int]:
        """How many clips are OK, SUSPECT and UNUSABLE."""
        counts = Counter(clip.status for clip in self.clips)
        return {status: counts[status] for status in (OK, SUSPECT, UNUSABLE)}

    @cached_property
    def by_defect(self) -> dict[str, list[tuple[AuditedClip, Defect]]]:
        """The clips with each defect that occurs, the gravest defect first."""
        found: dict[str, list[tuple[AuditedClip, Defect]]] = {kind.name: [] for kind in DEFECT_KINDS}
        for clip in self.clips:
            for defect in clip.defects:
                found[defect.name].append((clip, defect))
        return {name: rows for name, rows in found.items() if rows}

    @property
    def seconds(self) -> float:
        """Length of all clips that decode."""
        return sum(clip.facts.duration for clip in self.clips if clip.facts is not None)

    def sentences(self) -> list[str]:
        """What the folder holds, in a few sentences for people."""
        ok, suspect, unusable = self.statuses.values()
        verdict = "all are ok" if ok == len(self.clips) else f"{ok} are ok, {suspect} suspect and {unusable} unusable"
        sizes = {label: len(clips) for label, clips in self.classes.items()}
        largest, smallest = max(sizes, key=lambda label: sizes[label]), min(sizes, key=lambda label: sizes[label])
        lines = [
            f"{len(self.clips)} clips of {len(sizes)} classes, {_length(self.seconds)} of video: {verdict}.",
            f"The largest class, {largest}, has {sizes[largest]} clips, the smallest, {smallest}, "
            f"{sizes[smallest]} ({sizes[largest] / sizes[smallest]:.1f} : 1).",
        ]
        if self.ignored:
            named = ", ".join(self.ignored[:3]) + (", …" if len(self.ignored) > 3 else "")
            lines.append(f"Passed over, being no clips of a class: {len(self.ignored)} ({named}).")
        return lines + ([self.leakage] if self.leakage else [])

    def summary(self) -> str:
        """The sentences and, where there are defects, a table: a line a defect with its count and first clips."""
        rows = [
            [name, len(found), ", ".join(clip.path for clip, _ in found[:2]) + (", …" if len(found) > 2 else "")]
            for name, found in self.by_defect.items()
        ]
        table = [tabulate(rows, ["defect", "clips", "first"], tablefmt="simple", disable_numparse=True)] if rows else []
        return "\n".join([*self.sentences(), *([""] if rows else []), *table])


def run_audit(
    root: Path,
    store: FrameStore,
    limits: Limits,
    *,
    groups: Mapping[str, str] | None = None,
    workers: int | None = None,
    seconds_per_clip: float = 300.0,
    progress: bool = True,
) -> Audit:
    """Look at every clip of a folder; what the store already holds is not decoded again.

    Args:
        root: one sub-folder a class.
        store: where the frames go; a sweep with the same decode settings finds them there.
        limits: where a clip becomes suspect.
        groups: each clip's group, to say what a random split would claim; found from the clips if not given.
        workers: processes; default: one a core.
        seconds_per_clip: time limit to decode one clip.
        progress: show bars.

    Raises:
        DataError: the folder can't be used, a clip has no group, a setting is out of range, or the store can't be
            written or keeps too few frames to see a movement.
    """
    if store.settings.frames < 2:
        raise DataError("of one frame a clip nobody can tell what moves: keep 2 frames or more")
    if workers is not None and workers < 1:
        raise DataError(f"decoding takes 1 worker or more, not {workers}")
    if not seconds_per_clip > 0:
        raise DataError(f"the time limit of one clip must be above 0 s, not {seconds_per_clip:g}")
    scan = scan_clips(root, groups)
    build = store.build(
        root,
        [clip.path for clip in scan.clips],
        workers=workers,
        seconds_per_clip=seconds_per_clip,
        progress=progress,
    )
    signatures = find_signatures(build, store, progress=progress)
    defects = find_defects(scan.clips, build, store, signatures, limits, progress=progress)
    stored: dict[str, StoredClip] = {clip.path: clip for clip in build.stored}
    by_path: defaultdict[str, list[Defect]] = defaultdict(list)
    for defect in defects:
        by_path[defect.path].append(defect)
    clips = tuple(_audited(root, clip, stored.get(clip.path), by_path[clip.path]) for clip in scan.clips)
    grouped: Sequence[Clip] = scan.clips
    if groups is None:
        grouped = find_groups(scan.clips, build, store, signatures, progress=progress).grouped(scan.clips)
    leakage = measure_leakage(grouped, build, store)
    return Audit(root, clips, scan.ignored, build.decoded, leakage.sentence() if leakage else "")


def _audited(root: Path, clip: Clip, stored: StoredClip | None, defects: list[Defect]) -> AuditedClip:
    if stored is None:
        return AuditedClip(clip.path, clip.label, _digest(root / clip.path), None, tuple(defects))
    return AuditedClip(clip.path, clip.label, stored.digest, stored.facts, tuple(defects))


def _digest(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError:
        return ""


def write_audit_csv(audit: Audit, path: Path) -> None:
    """Write a row a clip, UTF-8: what decoding told is empty for a clip without frames.

    Units: pixels as coded, degrees clockwise, frames a second, seconds.

    Raises:
        DataError: the file can't be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for clip in audit.clips:
        writer.writerow([clip.path, clip.label, *_facts_cells(clip.facts), clip.digest, clip.status, clip.reason])
    write_atomically(path, text.getvalue())


def _facts_cells(facts: ClipFacts | None) -> list[str]:
    if facts is None:
        return [""] * 9
    return [
        facts.container,
        facts.codec,
        str(facts.width),
        str(facts.height),
        str(facts.rotation),
        f"{facts.fps:.3f}",
        "yes" if facts.variable_rate else "no",
        str(facts.frames),
        f"{facts.duration:.3f}",
    ]


def check_writable(folder: Path) -> None:
    """See before hours of decoding that files can be written to a folder that may not exist yet; makes nothing.

    Raises:
        DataError: they can't.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise DataError(f"can't write to '{folder}': give another folder")


def _length(seconds: float) -> str:
    """A length of time as people say it."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 2 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
