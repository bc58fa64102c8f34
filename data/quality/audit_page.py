"""The audit as one HTML file to look at and to send on: plots, pictures of each class, everything suspect."""

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

MOST_THUMBNAILS = 240
"""Pictures of all classes together: the page stays small however many clips there are."""

MOST_A_CLASS = 8
"""Pictures of one class."""

MOST_A_DEFECT = 20
"""Clips shown of one defect; audit.csv has all."""

_MOST_BARS = 8
_THUMBNAIL_HEIGHT = 96
_STRIP_FRAMES, _STRIP_HEIGHT = 3, 64


@dataclass(frozen=True, slots=True)
class Picture:
    """One clip as the page shows it."""

    path: str
    image: str
    """A JPEG as data URI; empty where the clip has no frames."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a bar chart: how many clips, and how many of them are suspect or unusable."""

    name: str
    clips: int
    suspect: int = 0
    unusable: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One clip with one defect."""

    clip: Picture
    detail: str
    other: Picture | None
    """The clip that it repeats or contradicts."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The clips with one defect."""

    kind: DefectKind
    count: int
    shown: tuple[Finding, ...]
    """The first MOST_A_DEFECT of them."""


def write_page(audit: Audit, store: FrameStore, path: Path) -> None:
    """Write the page, one file without references to others; of every clip shown, frames are read from the store.

    Raises:
        DataError: the page can't be written, or the store lacks a clip's frames.
    """
    facts = [clip.facts for clip in audit.clips if clip.facts is not None]
    page = load_template(Path(__file__).with_name("audit_page.html.j2")).render(
        audit=audit,
        findings=list(_findings(audit, store)),
        classes=[_class_bar(label, clips) for label, clips in audit.classes.items()],
        durations=_histogram([fact.duration for fact in facts]) if facts else None,
        duration_note=_duration_note(facts),
        sizes=_bars(_shown_size(fact) for fact in facts),
        rates=_bars(_shown_rate(fact) for fact in facts),
        formats=_bars(f"{fact.codec} in {fact.container.split(',')[0]}" for fact in facts),
        gallery=list(_gallery(audit, store)),
    )
    write_atomically(path, page)


def _findings(audit: Audit, store: FrameStore) -> Iterator[Findings]:
    by_path = {clip.path: clip for clip in audit.clips}
    kinds = {kind.name: kind for kind in DEFECT_KINDS}
    for name, found in audit.by_defect.items():
        shown = tuple(
            Finding(
                _picture(clip, store, _STRIP_FRAMES, _STRIP_HEIGHT),
                defect.detail,
                _picture(by_path[defect.other], store, _STRIP_FRAMES, _STRIP_HEIGHT) if defect.other else None,
            )
            for clip, defect in found[:MOST_A_DEFECT]
        )
        yield Findings(kinds[name], len(found), shown)


def _gallery(audit: Audit, store: FrameStore) -> Iterator[tuple[str, list[Picture]]]:
    """Some clips of each class, those that are ok where there are such, spread evenly over its names.

    Classes beyond MOST_THUMBNAILS have none.
    """
    each = max(1, min(MOST_A_CLASS, MOST_THUMBNAILS // len(audit.classes)))
    for label, clips in list(audit.classes.items())[:MOST_THUMBNAILS]:
        ok = [clip for clip in clips if clip.status == OK]
        usable = ok or [clip for clip in clips if clip.facts is not None]
        chosen = np.linspace(0, len(usable) - 1, min(each, len(usable))).round().astype(int)
        yield label, [_picture(usable[index], store, 1, _THUMBNAIL_HEIGHT) for index in chosen]


def _picture(clip: AuditedClip, store: FrameStore, count: int, height: int) -> Picture:
    """`count` frames of a clip side by side, from the middles of as many equal parts."""
    if clip.facts is None:
        return Picture(clip.path, "")
    return Picture(clip.path, sampled_strip(store.read(clip.digest), count, height))


def _class_bar(label: str, clips: Sequence[AuditedClip]) -> Bar:
    counts = Counter(clip.status for clip in clips)
    return Bar(label, len(clips), counts[SUSPECT], counts[UNUSABLE])


def _bars(names: Iterable[str]) -> list[Bar]:
    """The most frequent names, and the others together."""
    counts = Counter(names).most_common()
    # One other by its name takes no more room than "1 other".
    shown = _MOST_BARS if len(counts) > _MOST_BARS + 1 else len(counts)
    others = sum(count for _, count in counts[shown:])
    more = [Bar(f"{len(counts) - shown} others", others)] if others else []
    return [Bar(name, count) for name, count in counts[:shown]] + more


def _shown_size(facts: ClipFacts) -> str:
    width, height = (facts.width, facts.height) if facts.rotation % 180 == 0 else (facts.height, facts.width)
    return f"{width} × {height}"


def _shown_rate(facts: ClipFacts) -> str:
    return "variable" if facts.variable_rate else f"{facts.fps:.4g}"


def _duration_note(facts: Sequence[ClipFacts]) -> str:
    if not facts:
        return ""
    shortest, median, longest = np.quantile([fact.duration for fact in facts], (0, 0.5, 1))
    return f"{shortest:.3g} to {longest:.3g} s, median {median:.3g} s"


def _histogram(seconds: Sequence[float]) -> Markup:
    """Lengths of clips as SVG; on a logarithmic axis where they span more than a factor of 20."""
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
        return inline_svg(figure, f"Histogram of the lengths of {len(values)} clips, in seconds")
