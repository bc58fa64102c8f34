"""A table of a split: clips and groups per class, and how precise a test on so few clips is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from data.clip import Clip
from data.dataset.splits import LEFT_OUT, Split, fold_names
from data.intervals import wilson_interval

TYPICAL_RECALL = 0.85
"""Intervals are shown for the possible recall nearest to this."""
NO_GROUPS = (
    "no groups are given, so clips of one recording may be in both train and test, which makes test results too good; "
    "give --groups CSV, or --groups auto to find groups"
)
"""Note for a split in which each clip is its own group."""
WIDE_INTERVAL = 0.5
"""A class whose interval is wider than this gets a warning."""

_Cells = defaultdict[tuple[str, str], list[Clip]]
"""The clips of a class in a part of the split."""
_ALL = ""
"""Stands for all classes in `_Cells`; no class has an empty name."""


def split_report(split: Split) -> str:
    """Return a printable table of clips and groups, one line per class, followed by notes and warnings.

    For test the table has the Wilson 95 % interval of a typical recall: by clip, and, since clips of one group are
    often right or wrong together, by the effective number of clips if they always are.
    """
    cells: _Cells = defaultdict(list)
    for row in split.rows:
        for label in (row.clip.label, _ALL):
            cells[label, row.split].append(row.clip)
    labels = sorted({row.clip.label for row in split.rows})
    by_group = any(_effective_clips(cells[label, "test"]) < len(cells[label, "test"]) for label in labels)
    lines = [_table(split, labels, cells, by_group), *_legend(by_group), *_notes(split, cells)]
    return "\n".join([*lines, *_warnings(labels, cells)])


def _table(split: Split, labels: Sequence[str], cells: _Cells, by_group: bool) -> str:
    parts = (*split.parts, *((LEFT_OUT,) if cells[_ALL, LEFT_OUT] else ()))
    headings = ("test, by clip", "by group") if by_group else ("test, by clip",)
    table = []
    for label in (*labels, _ALL):
        test = cells[label, "test"]
        intervals = [_interval(trials) for trials in (len(test), _effective_clips(test))[: len(headings)]]
        table.append([label or "all", *(_counts(cells[label, part]) for part in parts), *intervals])
    alignment = ("left", *("right" for _ in parts), *("left" for _ in headings))
    header = ["clips (groups)", *parts, *headings]
    return tabulate(table, header, tablefmt="simple", disable_numparse=True, colalign=alignment)


def _counts(clips: Sequence[Clip]) -> str:
    return f"{len(clips)} ({len({clip.group for clip in clips})})"


def _interval(trials: int) -> str:
    """Return the interval of the recall nearest to TYPICAL_RECALL and half its width, as in `6 of 7: 49–97 %, ±24`."""
    if not trials:
        return "-"
    low, high = _typical_interval(trials)
    return f"{_typical_successes(trials)} of {trials}: {100 * low:.0f}–{100 * high:.0f} %, ±{50 * (high - low):.0f}"


def _typical_interval(trials: int) -> tuple[float, float]:
    return wilson_interval(_typical_successes(trials), trials)


def _typical_successes(trials: int) -> int:
    return round(TYPICAL_RECALL * trials)


def _effective_clips(clips: Sequence[Clip]) -> int:
    """Return the effective sample size if the clips of a group are always right or wrong together.

    It is (sum of the groups' sizes)² / sum of their squares (Kish, Survey Sampling, 1965), rounded.
    """
    sizes = Counter(clip.group for clip in clips).values()
    return round(sum(sizes) ** 2 / sum(size**2 for size in sizes)) if sizes else 0


def _legend(by_group: bool) -> list[str]:
    lines = [
        f"by clip: 95 % interval of the recall when about {100 * TYPICAL_RECALL:.0f} % of these test clips are "
        "classified correctly; ± is half its width in percentage points"
    ]
    if by_group:
        lines.append(
            "by group: the same if the clips of a group are always all right or all wrong, with the effective number "
            "of clips; the truth is between the two"
        )
    return lines


def _notes(split: Split, cells: _Cells) -> list[str]:
    """Return notes on classes that are never tested, or not validated in every fold."""
    tested = {clip.label for clip in cells[_ALL, "test"]}
    untested = [label for label in split.classes if label not in tested]
    lines = [f"note: trained on but never tested: {_named(untested)}"] if untested else []
    folds = fold_names(split.folds)
    for label in split.classes:
        held = [number for number, name in enumerate(folds, 1) if cells[label, name]]
        if held and len(held) < len(folds):
            lines.append(
                f"note: class {label!r} has too few groups for every fold; it is in {len(held)} of {len(folds)} "
                f"({', '.join(map(str, held))})"
            )
    return lines


def _warnings(labels: Iterable[str], cells: _Cells) -> list[str]:
    wide, single, dominated = [], [], []
    for label in labels:
        test = cells[label, "test"]
        if not test:
            continue
        low, high = _typical_interval(len(test))
        if high - low > WIDE_INTERVAL:
            wide.append(f"{label!r} ({100 * (high - low):.0f} points)")
        if len({clip.group for clip in test}) == 1:
            single.append(repr(label))
    for label in labels:
        clips = [clip for (name, part), found in cells.items() if name == label and part != LEFT_OUT for clip in found]
        for group, size in Counter(clip.group for clip in clips).most_common(1):
            if 2 * size > len(clips):
                dominated.append(f"{label!r} ({size} of {len(clips)} clips in {group!r})")
    found = {
        f"too few test clips, the 95 % interval is wider than {100 * WIDE_INTERVAL:.0f} points": wide,
        "only one group in test": single,
        "one group has more than half of the clips": dominated,
    }
    return [f"warning: {what}: {', '.join(names)}" for what, names in found.items() if names]


def _named(labels: Iterable[str]) -> str:
    return ", ".join(map(repr, labels))
