"""Audit of a folder of clips before training: format and defects of each file, leakage, and a CSV file of all clips."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tabulate import tabulate

from data.clip import Clip
from data.dataset.clips import Scan, scan_clips
from data.errors import DataError
from data.files import file_sha256, write_atomically
from data.quality.defects import DEFECT_KINDS, OK, SUSPECT, UNUSABLE, Defect, clip_status, find_defects
from data.quality.grouping import find_groups
from data.quality.leakage import measure_leakage
from data.quality.limits import Limits
from data.quality.similarity import Signature, find_signatures
from data.store.build_report import BuildReport
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
    """Format and defects of one file."""

    path: str
    label: str
    digest: str
    """SHA-256 of the file's bytes, hexadecimal; empty if it can't be read."""
    facts: ClipFacts | None
    """None if the file gives no frames."""
    defects: tuple[Defect, ...]

    @property
    def status(self) -> str:
        """OK, SUSPECT or UNUSABLE."""
        return clip_status(self.facts is not None, self.defects)

    @property
    def reason(self) -> str:
        """Each defect with its detail; empty if the clip is ok."""
        return "; ".join(f"{defect.name}: {defect.detail}" for defect in self.defects)


@dataclass(frozen=True)
class Audit:
    """Results for a folder of clips."""

    root: Path
    clips: tuple[AuditedClip, ...]
    """Sorted by path."""
    ignored: tuple[str, ...]
    """Files and folders that are not clips of a class."""
    decoded: int
    """Number of clips decoded by this audit; the frames of the others were in the store."""
    leakage: str = ""
    """How much a random split would inflate the test score; empty if fewer than two classes have frames."""

    @cached_property
    def classes(self) -> dict[str, list[AuditedClip]]:
        """The clips of each class."""
        found: defaultdict[str, list[AuditedClip]] = defaultdict(list)
        for clip in sorted(self.clips, key=lambda clip: (clip.label, clip.path)):
            found[clip.label].append(clip)
        return dict(found)

    @cached_property
    def statuses(self) -> dict[str, int]:
        """Number of clips that are OK, SUSPECT and UNUSABLE."""
        counts = Counter(clip.status for clip in self.clips)
        return {status: counts[status] for status in (OK, SUSPECT, UNUSABLE)}

    @cached_property
    def by_defect(self) -> dict[str, list[tuple[AuditedClip, Defect]]]:
        """The clips with each defect that occurs, the most serious defect first."""
        found: dict[str, list[tuple[AuditedClip, Defect]]] = {kind.name: [] for kind in DEFECT_KINDS}
        for clip in self.clips:
            for defect in clip.defects:
                found[defect.name].append((clip, defect))
        return {name: rows for name, rows in found.items() if rows}

    @property
    def seconds(self) -> float:
        """Total duration of the clips that give frames."""
        return sum(clip.facts.duration for clip in self.clips if clip.facts is not None)

    def sentences(self) -> list[str]:
        """Return the main results in a few sentences."""
        ok, suspect, unusable = self.statuses.values()
        verdict = "all are ok" if ok == len(self.clips) else f"{ok} are ok, {suspect} suspect and {unusable} unusable"
        sizes = {label: len(clips) for label, clips in self.classes.items()}
        largest, smallest = max(sizes, key=lambda label: sizes[label]), min(sizes, key=lambda label: sizes[label])
        lines = [
            f"{len(self.clips)} clips of {len(sizes)} classes, {_duration_text(self.seconds)} of video: {verdict}.",
            f"The largest class, {largest}, has {sizes[largest]} clips, the smallest, {smallest}, "
            f"{sizes[smallest]} ({sizes[largest] / sizes[smallest]:.1f} : 1).",
        ]
        if self.ignored:
            named = ", ".join(self.ignored[:3]) + (", …" if len(self.ignored) > 3 else "")
            lines.append(f"Ignored because they are not clips of a class: {len(self.ignored)} ({named}).")
        return lines + ([self.leakage] if self.leakage else [])

    def summary(self) -> str:
        """Return the sentences and, if there are defects, a table with the number and the first clips of each."""
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
    scan: Scan | None = None,
    workers: int | None = None,
    seconds_per_clip: float = 300.0,
    progress: bool = True,
) -> Audit:
    """Decode every clip of a folder that the frame store lacks, find defects and measure leakage.

    Args:
        root: folder with one sub-folder per class.
        store: receives the frames; a sweep with the same decode settings uses them.
        limits: thresholds from which a clip is suspect.
        scan: the clips of the folder; default: found by its sub-folders. If it has no groups, to measure leakage, they
            are found from the clips.
        workers: number of processes; default: one per core.
        seconds_per_clip: time limit for decoding one clip.
        progress: show progress bars.

    Raises:
        DataError: the folder can't be used, a setting is out of range, or the store is not
            writable or keeps too few frames to show movement.
    """
    _check_frames(store)
    scan = scan or scan_clips(root)
    paths = [clip.path for clip in scan.clips]
    build = store.build(root, paths, workers=workers, seconds_per_clip=seconds_per_clip, progress=progress)
    signatures = find_signatures(build, store, progress=progress)
    defects = find_defects(scan.clips, build, store, signatures, limits, progress=progress)
    clips = scan.clips if scan.has_groups else _grouped(scan.clips, build, store, signatures, progress=progress)
    leakage = measure_leakage(clips, build, store)
    return Audit(
        root,
        _audited_clips(root, scan.clips, build, defects),
        scan.ignored,
        build.decoded,
        leakage.summary() if leakage else "",
    )


def _check_frames(store: FrameStore) -> None:
    if store.settings.frames < 2:
        raise DataError(f"{store.settings.frames} frame per clip shows no movement; keep 2 frames or more")


def _grouped(
    clips: Sequence[Clip],
    build: BuildReport,
    store: FrameStore,
    signatures: Mapping[str, Signature],
    *,
    progress: bool,
) -> Sequence[Clip]:
    return find_groups(clips, build, store, signatures, progress=progress).regroup(clips)


def _audited_clips(
    root: Path, clips: Sequence[Clip], build: BuildReport, defects: Sequence[Defect]
) -> tuple[AuditedClip, ...]:
    stored = {clip.path: clip for clip in build.stored}
    by_path: defaultdict[str, list[Defect]] = defaultdict(list)
    for defect in defects:
        by_path[defect.path].append(defect)
    audited = []
    for clip in clips:
        found = stored.get(clip.path)
        digest, facts = (found.digest, found.facts) if found else (_digest(root / clip.path), None)
        audited.append(AuditedClip(clip.path, clip.label, digest, facts, tuple(by_path[clip.path])))
    return tuple(audited)


def _digest(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError:
        return ""


def write_audit_csv(audit: Audit, path: Path) -> None:
    """Write one row per clip as CSV in UTF-8; the format columns are empty for a clip without frames.

    Units: pixels as coded, degrees clockwise, frames per second, seconds.

    Raises:
        DataError: the file can't be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for clip in audit.clips:
        writer.writerow([clip.path, clip.label, *_format_cells(clip.facts), clip.digest, clip.status, clip.reason])
    write_atomically(path, text.getvalue())


def _format_cells(facts: ClipFacts | None) -> list[str]:
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


def _duration_text(seconds: float) -> str:
    """Return a duration in hours, minutes or seconds, whichever reads best."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 2 else f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
