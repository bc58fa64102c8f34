"""The audit as one HTML file: plots, pictures of each class, and all suspect clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.files import write_atomically
from data.page import load_template, sampled_strip
from data.plot import BAR, inline_svg, plot_style
from data.quality.audit import Audit, AuditedClip
from data.quality.defects import DEFECT_KINDS, OK, SUSPECT, UNUSABLE, DefectKind
from data.store.frame_store import FrameStore
from data.video.decode import ClipFacts

MAX_THUMBNAILS = 240
"""Pictures of all classes, which limits the size of the page."""

MAX_CLIPS_PER_CLASS = 8
"""Pictures of one class."""

MAX_CLIPS_PER_DEFECT = 20
"""Clips shown of one defect; audit.csv has all."""

_MAX_BARS = 8
_THUMBNAIL_HEIGHT = 96
_STRIP_FRAMES, _STRIP_HEIGHT = 3, 64


@dataclass(frozen=True, slots=True)
class ClipPicture:
    """Picture of one clip."""

    path: str
    image: str
    """A JPEG as data URI; empty if the clip has no frames."""


@dataclass(frozen=True, slots=True)
class ChartBar:
    """One row of a bar chart: the number of clips, and how many of them are suspect or unusable."""

    name: str
    clips: int
    suspect: int = 0
    unusable: int = 0


@dataclass(frozen=True, slots=True)
class DefectRow:
    """One clip with one defect."""

    clip: ClipPicture
    detail: str
    other: ClipPicture | None
    """The clip that it copies or contradicts."""


@dataclass(frozen=True, slots=True)
class DefectSection:
    """The clips with one defect."""

    kind: DefectKind
    count: int
    rows: tuple[DefectRow, ...]
    """The first MAX_CLIPS_PER_DEFECT of them."""


def write_audit_page(audit: Audit, store: FrameStore, path: Path) -> None:
    """Write the page as one self-contained file, with pictures from the store.

    Raises:
        DataError: the page can't be written, or the store lacks a clip's frames.
    """
    facts = [clip.facts for clip in audit.clips if clip.facts is not None]
    page = load_template(Path(__file__).with_name("audit_page.html.j2")).render(
        audit=audit,
        sections=list(_defect_sections(audit, store)),
        classes=[_class_bar(label, clips) for label, clips in audit.classes.items()],
        durations=_histogram([fact.duration for fact in facts]) if facts else None,
        duration_note=_duration_note(facts),
        sizes=_bars(_displayed_size(fact) for fact in facts),
        rates=_bars(_displayed_rate(fact) for fact in facts),
        formats=_bars(f"{fact.codec} in {fact.container.split(',')[0]}" for fact in facts),
        gallery=list(_gallery(audit, store)),
    )
    write_atomically(path, page)


def _defect_sections(audit: Audit, store: FrameStore) -> Iterator[DefectSection]:
    by_path = {clip.path: clip for clip in audit.clips}
    kinds = {kind.name: kind for kind in DEFECT_KINDS}
    for name, found in audit.by_defect.items():
        rows = tuple(
            DefectRow(
                _picture(clip, store, _STRIP_FRAMES, _STRIP_HEIGHT),
                defect.detail,
                _picture(by_path[defect.other], store, _STRIP_FRAMES, _STRIP_HEIGHT) if defect.other else None,
            )
            for clip, defect in found[:MAX_CLIPS_PER_DEFECT]
        )
        yield DefectSection(kinds[name], len(found), rows)


def _gallery(audit: Audit, store: FrameStore) -> Iterator[tuple[str, list[ClipPicture]]]:
    """Yield pictures of some clips of each class, evenly spaced by name, of clips that are ok if there are any.

    At most MAX_THUMBNAILS classes are shown.
    """
    each = max(1, min(MAX_CLIPS_PER_CLASS, MAX_THUMBNAILS // len(audit.classes)))
    for label, clips in list(audit.classes.items())[:MAX_THUMBNAILS]:
        ok = [clip for clip in clips if clip.status == OK]
        usable = ok or [clip for clip in clips if clip.facts is not None]
        chosen = np.linspace(0, len(usable) - 1, min(each, len(usable))).round().astype(int)
        yield label, [_picture(usable[index], store, 1, _THUMBNAIL_HEIGHT) for index in chosen]


def _picture(clip: AuditedClip, store: FrameStore, count: int, height: int) -> ClipPicture:
    """Return `count` equally spaced frames of a clip side by side."""
    if clip.facts is None:
        return ClipPicture(clip.path, "")
    return ClipPicture(clip.path, sampled_strip(store.read(clip.digest), count, height))


def _class_bar(label: str, clips: Sequence[AuditedClip]) -> ChartBar:
    counts = Counter(clip.status for clip in clips)
    return ChartBar(label, len(clips), counts[SUSPECT], counts[UNUSABLE])


def _bars(names: Iterable[str]) -> list[ChartBar]:
    """Return a bar for each of the most frequent names, and one for all others."""
    counts = Counter(names).most_common()
    # A single other name takes no more space than "1 others" would.
    shown = _MAX_BARS if len(counts) > _MAX_BARS + 1 else len(counts)
    others = sum(count for _, count in counts[shown:])
    rest = [ChartBar(f"{len(counts) - shown} others", others)] if others else []
    return [ChartBar(name, count) for name, count in counts[:shown]] + rest


def _displayed_size(facts: ClipFacts) -> str:
    width, height = (facts.width, facts.height) if facts.rotation % 180 == 0 else (facts.height, facts.width)
    return f"{width} × {height}"


def _displayed_rate(facts: ClipFacts) -> str:
    return "variable" if facts.variable_rate else f"{facts.fps:.4g}"


def _duration_note(facts: Sequence[ClipFacts]) -> str:
    if not facts:
        return ""
    shortest, median, longest = np.quantile([fact.duration for fact in facts], (0, 0.5, 1))
    return f"{shortest:.3g} to {longest:.3g} s, median {median:.3g} s"


def _histogram(seconds: Sequence[float]) -> Markup:
    """Return durations as SVG, on a logarithmic axis if they span more than a factor of 20."""
    values = np.clip(seconds, 0.01, None)
    wide = values.max() > 20 * values.min()
    edges = np.geomspace(values.min(), values.max(), 25) if wide else np.histogram_bin_edges(values, bins=24)
    with plot_style():
        figure = Figure(figsize=(4.2, 2.1))
        axes = figure.subplots()
        axes.hist(values, bins=list(edges), color=BAR)
        if wide:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.set_xlabel("seconds")
        axes.set_ylabel("clips")
        return inline_svg(figure, f"Histogram of the durations of {len(values)} clips, in seconds")
