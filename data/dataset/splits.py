"""How clips go to train, val and test, or to folds and test (stratified, whole groups), and the CSV that keeps it."""

import csv
import hashlib
import io
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from data.clip import Clip
from data.dataset.clips import read_table
from data.dataset.group_search import NoPlacement, place_groups
from data.errors import DataError

SPLITS = ("train", "val", "test")
"""The parts of a plain split. One with folds has fold-1, fold-2 and so on in place of val; its train, if any, is
trained on in every round."""
LEFT_OUT = "left-out"
"""Stands in place of a part for the clips of a class that is left out."""
FEW_GROUPS = ("refuse", "leave-out", "train")
"""What to do with a class that has fewer than three groups."""

_COLUMNS = ("path", "label", "group", "split")
_LEAST_GROUPS = 3
_FOLD = re.compile(r"fold-[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Assigned:
    """A clip and where it goes: one of its split's parts, or LEFT_OUT."""

    clip: Clip
    split: str


@dataclass(frozen=True, slots=True)
class Round:
    """What one training learns from and what scores it; both sorted by path."""

    train: tuple[Clip, ...]
    val: tuple[Clip, ...]


@dataclass(frozen=True)
class Split:
    """Which clip goes where. Rows are kept sorted by path, so equal splits have equal bytes and hashes."""

    rows: tuple[Assigned, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: row.clip.path)))

    @cached_property
    def folds(self) -> int:
        """How many folds there are; 0 for a split into train, val and test."""
        return len({row.split for row in self.rows if _FOLD.fullmatch(row.split)})

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The names that clips in use may have: SPLITS, or the folds, then train if it has clips, then test."""
        if not self.folds:
            return SPLITS
        train = ("train",) if any(row.split == "train" for row in self.rows) else ()
        return (*fold_names(self.folds), *train, "test")

    def clips(self, part: str) -> list[Clip]:
        """Return the clips of one of `parts` (or of LEFT_OUT, or of an empty train), sorted by path."""
        assert part in (*self.parts, "train", LEFT_OUT), part
        return [row.clip for row in self.rows if row.split == part]

    def rounds(self) -> tuple[Round, ...]:
        """Return what is trained on and what it is scored by: once for a plain split, else once a fold.

        In round k (from 0) of a split with folds, fold k + 1 scores what the other folds and train taught.
        """
        scored = fold_names(self.folds) or ("val",)
        learnt = {"train", *fold_names(self.folds)}
        return tuple(
            Round(
                tuple(row.clip for row in self.rows if row.split in learnt and row.split != name),
                tuple(row.clip for row in self.rows if row.split == name),
            )
            for name in scored
        )

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels to train on, sorted: a class's index here is its index in the logits."""
        learnt = {"train", *fold_names(self.folds)}
        return tuple(sorted({row.clip.label for row in self.rows if row.split in learnt}))

    @cached_property
    def groups(self) -> dict[str, str]:
        """The group of each clip, by its path."""
        return {row.clip.path: row.clip.group for row in self.rows}

    @cached_property
    def sha256(self) -> str:
        """The hash of `to_csv()` in hexadecimal digits."""
        return hashlib.sha256(self.to_csv()).hexdigest()

    def to_csv(self) -> bytes:
        """Return the split file: UTF-8, `\\n` line ends, columns path, label, group and split."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((row.clip.path, row.clip.label, row.clip.group, row.split) for row in self.rows)
        return text.getvalue().encode()


def fold_names(folds: int) -> tuple[str, ...]:
    """Return the names of so many folds: fold-1, fold-2 and so on."""
    return tuple(f"fold-{number}" for number in range(1, folds + 1))


def make_split(
    clips: Sequence[Clip], *, val: float = 0.15, test: float = 0.15, seed: int = 0, few_groups: str = "refuse"
) -> Split:
    """Return a split that keeps groups whole and has every class in train, val and test.

    Of each class, the parts of clips in val and test are as near `val` and `test` as was found. A class with
    fewer than three groups can't stand in three parts: `few_groups` says whether to `refuse` it, to
    `leave-out` its clips, or to `train` on it (whole groups, whatever else is in them) and never test it.

    The same clips, in any order, and the same settings give the same bytes on every machine.

    Raises DataError for fractions that leave a part without clips, for classes with too few groups, and where
    groups with clips of several classes make the split impossible.
    """
    shares = _shares(val=val, test=test)
    return _divide(clips, dict(zip(SPLITS, shares, strict=True)), seed, few_groups, needed="train, val and test")


def make_folds(
    clips: Sequence[Clip], *, folds: int, test: float = 0.15, seed: int = 0, few_groups: str = "refuse"
) -> Split:
    """Return a split into test and so many folds, which keeps groups whole and has every class in test.

    Of each class, the part of clips in test is as near `test` as was found, and the rest is spread over the
    folds as evenly as was found. A class stands in every fold if it has that many groups beside the one in test,
    else in as many as its groups allow. It needs two, to be trained on whichever fold scores: for one with fewer
    than three groups `few_groups` says whether to `refuse` it, to `leave-out` its clips, or to `train` on it in
    every round (whole groups, whatever else is in them) and never score it.

    The same clips, in any order, and the same settings give the same bytes on every machine.

    Raises DataError as `make_split` does, and for more folds than the groups of any class can fill.
    """
    rest, part = _shares(test=test)
    if folds < 2:
        raise DataError(f"folds is {folds}: give a number from 2")
    groups = Counter(label for label, _ in {(clip.label, clip.group) for clip in clips})
    most = max(groups.values(), default=0) - 1
    if folds > most >= 2:
        raise DataError(
            f"folds is {folds}, but no class has the {folds + 1} groups that test and {folds} folds need: "
            f"give at most {most}"
        )
    shares = {**dict.fromkeys(fold_names(folds), rest / folds), "test": part}
    split = _divide(clips, shares, seed, few_groups, needed="test and two folds")
    if split.folds < folds:
        raise DataError(
            f"folds is {folds}, but whole groups fill only {split.folds} of them: give fewer folds, or add clips from "
            "other sources"
        )
    return split


def write_split(split: Split, path: Path) -> None:
    """Write the split file, whole or not at all; missing folders above it are made.

    Raises DataError where it can't be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(split.to_csv())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"can't write the split to '{path}': {error.strerror}") from error


def read_split(path: Path) -> Split:
    """Return the split that a file holds, whatever its order of rows and line ends.

    Raises DataError for a file that isn't such a CSV, a clip that stands in it twice or lies outside the data
    folder, a group in more than one part, folds beside a val or with a gap in their numbers, fewer than two
    classes to train on, an empty val or test, and a class in val, test or a fold that nothing else trains.
    """
    rows: dict[str, Assigned] = {}
    for line, (name, label, group, split) in read_table(path, _COLUMNS):
        where = f"'{path}', line {line}"
        if split not in (*SPLITS, LEFT_OUT) and not _FOLD.fullmatch(split):
            known = ", ".join((*SPLITS, LEFT_OUT, *fold_names(2)))
            raise DataError(f"{where}: the split is {split!r}; give one of {known} and so on")
        if name in rows:
            raise DataError(f"{where}: clip {name!r} stands further up too; keep one of the lines")
        try:
            rows[name] = Assigned(Clip(name, label, group), split)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    found = Split(tuple(rows.values()))
    _check_usable(found, path)
    return found


def check_split(split: Split, root: Path, clips: Sequence[Clip]) -> list[str]:
    """Return the sorted names of the `clips` found in the folder `root` that the split doesn't list.

    Raises DataError where the folder lacks a clip of the split or has it under another label; clips that are
    left out don't matter.
    """
    labels = {clip.path: clip.label for clip in clips}
    used = [row.clip for row in split.rows if row.split != LEFT_OUT]
    missing = [clip.path for clip in used if clip.path not in labels]
    if missing:
        raise DataError(
            f"{len(missing)} of the split's {len(used)} clips are not in '{root}', the first is {missing[0]!r}: "
            "put them back, or make a new split"
        )
    for clip in used:
        if clip.label != labels[clip.path]:
            raise DataError(
                f"clip {clip.path!r} has the label {clip.label!r} in the split and {labels[clip.path]!r} in "
                f"'{root}': mend the one that is wrong, or make a new split"
            )
    listed = {row.clip.path for row in split.rows}
    return sorted(path for path in labels if path not in listed)


def _shares(**parts: float) -> list[Fraction]:
    """Return what the parts leave over, and then the parts, as exact fractions."""
    for name, value in parts.items():
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"{name} is {value}: give a fraction above 0, such as 0.15")
    # The decimal number that was typed is meant, not the binary one next to it.
    exact = [Fraction(str(value)) for value in parts.values()]
    if sum(exact) >= 1:
        given = " and ".join(f"{name} {value}" for name, value in parts.items())
        leave, those = ("leaves", "it") if len(parts) == 1 else ("leave", "their sum")
        raise DataError(f"{given} {leave} nothing to train on: {those} must be below 1")
    return [1 - sum(exact, Fraction()), *exact]


def _divide(clips: Sequence[Clip], shares: Mapping[str, Fraction], seed: int, few_groups: str, *, needed: str) -> Split:
    """Give clips their parts, of which the last is test; `needed` says in words where every class must stand."""
    if few_groups not in FEW_GROUPS:
        raise DataError(f"few_groups is {few_groups!r}: give one of {', '.join(FEW_GROUPS)}")
    clips = sorted(clips)
    assert len({clip.path for clip in clips}) == len(clips), "a clip was given twice"
    by_label: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_label[clip.label].append(clip)
    few = {label for label, found in by_label.items() if _count_groups(found) < _LEAST_GROUPS}
    _check_few(by_label, few, few_groups, needed)
    trained = {clip.group for clip in clips if clip.label in few} if few_groups == "train" else set()
    try:
        part_of = _place([clip for clip in clips if clip.label not in few], shares, trained, seed)
    except NoPlacement as error:
        raise DataError(
            f"found no split that has class {error.label!r} ({_counts(by_label[error.label])}) in {needed}: groups "
            "that it shares with other classes go together; add clips of it in groups of their own"
        ) from error
    left_out = few if few_groups == "leave-out" else set()
    return Split(tuple(Assigned(clip, LEFT_OUT if clip.label in left_out else part_of[clip.group]) for clip in clips))


def _place(clips: Sequence[Clip], shares: Mapping[str, Fraction], trained: set[str], seed: int) -> dict[str, str]:
    """Return the part of each group. Those in `trained` go to train, whether it is one of the parts or not."""
    parts = list(shares)
    least = {clip.label: _LEAST_GROUPS for clip in clips}
    contents: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if clip.group not in trained or "train" in parts:
            contents[clip.group][clip.label] += 1
        else:
            # It is trained on in every round, so one fold is enough to score it.
            least[clip.label] = _LEAST_GROUPS - 1
    pinned = {group: parts.index("train") for group in trained & contents.keys()}
    unit = math.lcm(*(share.denominator for share in shares.values()))
    whole = [int(share * unit) for share in shares.values()]
    # A fold is as small as test, and a group too large for its share would as soon go to test, where no round trains
    # on it: the more folds, the more test's share counts.
    stress = 1 if "train" in parts else (len(parts) - 1) ** 2
    places = place_groups(contents, whole, least=least, pinned=pinned, stress=stress, seed=seed)
    return {group: parts[place] for group, place in places.items()} | dict.fromkeys(trained, "train")


def _check_few(by_label: Mapping[str, Sequence[Clip]], few: set[str], few_groups: str, needed: str) -> None:
    if len(by_label) < 2:
        raise DataError(f"a split needs clips of at least two classes, not {len(by_label)}: add clips of others")
    named = ", ".join(f"class {label!r} has {_counts(by_label[label])}" for label in sorted(few))
    if few and few_groups == "refuse":
        raise DataError(
            f"{named}, but {needed} need 3 groups: pass --few-groups leave-out (drop the class) or "
            "--few-groups train (train on it, never test it)"
        )
    left = len(by_label) - len(few)
    if few_groups == "leave-out" and left < 2:
        raise DataError(
            f"{named}: leaving out each class with fewer than 3 groups leaves {left} of {len(by_label)} classes, "
            "but at least 2 are needed; add clips from other sources"
        )
    if left == 0:
        raise DataError(
            f"{named}: no class has the 3 groups that {needed} need, so nothing would be tested; "
            "add clips from other sources"
        )


def _count_groups(clips: Sequence[Clip]) -> int:
    return len({clip.group for clip in clips})


def _counts(clips: Sequence[Clip]) -> str:
    groups = _count_groups(clips)
    return f"{len(clips)} clip{'' if len(clips) == 1 else 's'} in {groups} group{'' if groups == 1 else 's'}"


def _check_usable(split: Split, path: Path) -> None:
    _check_groups_whole(split, path)
    _check_kind(split, path)
    learnt = {"train", *fold_names(split.folds)}
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for row in split.rows:
        labels[row.split].add(row.clip.label)
    if len(split.classes) < 2:
        raise DataError(
            f"'{path}': {'the folds have' if split.folds else 'train has'} {len(split.classes)} class(es), but at "
            "least two are needed; add groups of others"
        )
    for part in split.parts:
        if not labels[part]:
            raise DataError(f"'{path}': {part} has no clips; make a new split, or move whole groups to it")
        if part == "train":
            continue
        strange = sorted(labels[part].difference(*(labels[other] for other in learnt - {part})))
        if strange:
            folds = f"in no {'' if part == 'test' else 'other '}fold, nor in train"
            elsewhere = folds if split.folds else "not in train"
            raise DataError(f"'{path}': class {strange[0]!r} is in {part} but {elsewhere}; add groups of it there")


def _check_groups_whole(split: Split, path: Path) -> None:
    place: dict[str, str] = {}
    for row in split.rows:
        if row.split != LEFT_OUT and place.setdefault(row.clip.group, row.split) != row.split:
            raise DataError(
                f"'{path}': group {row.clip.group!r} is in {place[row.clip.group]} and in {row.split}, as "
                f"{row.clip.path!r} is; keep each group in one split"
            )


def _check_kind(split: Split, path: Path) -> None:
    """Refuse a split that is neither train, val and test nor folds and test."""
    if not split.folds:
        return
    found = {row.split for row in split.rows}
    if "val" in found:
        raise DataError(f"'{path}': it has folds and a val; put the clips of val in folds, or in train")
    lacking = [name for name in fold_names(max(split.folds, 2)) if name not in found]
    if lacking:
        raise DataError(f"'{path}': it has folds, but none is called {lacking[0]}; number them from 1, two at least")
