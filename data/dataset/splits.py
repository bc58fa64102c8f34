"""A split of clips into train, val and test, or into folds and test, and the CSV file that holds it."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data.clip import Clip
from data.dataset.tables import read_table
from data.errors import DataError
from data.files import write_atomically

SPLITS = ("train", "val", "test")
"""The parts of a plain split. A split with folds has fold-1, fold-2 and so on instead of val; if it has a train part,
every round trains on it."""
LEFT_OUT = "left-out"
"""Stands for the part of clips whose class is left out."""

_COLUMNS = ("path", "label", "group", "split")
_FOLD = re.compile(r"fold-[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class SplitRow:
    """A clip and its part: one of the split's parts, or LEFT_OUT."""

    clip: Clip
    split: str


@dataclass(frozen=True, slots=True)
class Round:
    """The clips that one model is trained on and those it is validated on, both sorted by path."""

    train: tuple[Clip, ...]
    val: tuple[Clip, ...]


@dataclass(frozen=True)
class Split:
    """The part of each clip. Rows are kept sorted by path, so equal splits have equal bytes and hashes."""

    rows: tuple[SplitRow, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: row.clip.path)))

    @cached_property
    def folds(self) -> int:
        """Number of folds; 0 for a split into train, val and test."""
        return len({row.split for row in self.rows if _FOLD.fullmatch(row.split)})

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """SPLITS; or the folds, train if it has clips, and test."""
        if not self.folds:
            return SPLITS
        train = ("train",) if any(row.split == "train" for row in self.rows) else ()
        return (*fold_names(self.folds), *train, "test")

    def clips(self, part: str) -> list[Clip]:
        """Return the clips of a part, sorted by path; `part` may also be LEFT_OUT, or train if that is empty."""
        assert part in (*self.parts, "train", LEFT_OUT), part
        return [row.clip for row in self.rows if row.split == part]

    def rounds(self) -> tuple[Round, ...]:
        """Return the training and validation clips of each round: one for a plain split, else one per fold.

        Round k (from 0) of a split with folds is validated on fold k + 1 and trained on the other folds and train.
        """
        validated = fold_names(self.folds) or ("val",)
        trained = self._trained_parts()
        return tuple(
            Round(
                tuple(row.clip for row in self.rows if row.split in trained and row.split != name),
                tuple(row.clip for row in self.rows if row.split == name),
            )
            for name in validated
        )

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes to train on, sorted: a class's index here is its index in the logits."""
        trained = self._trained_parts()
        return tuple(sorted({row.clip.label for row in self.rows if row.split in trained}))

    @cached_property
    def groups(self) -> dict[str, str]:
        """The group of each clip, by path."""
        return {row.clip.path: row.clip.group for row in self.rows}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of `to_csv()`, hexadecimal."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()

    def to_csv(self) -> str:
        """Return the text of the split file: `\\n` line ends, columns path, label, group and split."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((row.clip.path, row.clip.label, row.clip.group, row.split) for row in self.rows)
        return text.getvalue()

    def _trained_parts(self) -> set[str]:
        return {"train", *fold_names(self.folds)}


def fold_names(folds: int) -> tuple[str, ...]:
    """Return the names of the folds: fold-1, fold-2 and so on."""
    return tuple(f"fold-{number}" for number in range(1, folds + 1))


def is_split(name: str) -> bool:
    """Return whether a split file may have this split."""
    return name in (*SPLITS, LEFT_OUT) or _FOLD.fullmatch(name) is not None


def write_split(split: Split, path: Path) -> None:
    """Write the split file atomically, creating the folders above it.

    Raises:
        DataError: the file can't be written.
    """
    write_atomically(path, split.to_csv())


def read_split(path: Path) -> Split:
    """Read a split file, whatever its order of rows and line ends.

    Raises:
        DataError: the file is not such a CSV; a clip is listed twice or is outside the data folder; a group is in more
            than one part; folds are mixed with val or not numbered from 1; fewer than two classes are trained on; val
            or test is empty; or a class of val, test or a fold is not trained on in another part.
    """
    rows: dict[str, SplitRow] = {}
    for line, (name, label, group, split) in read_table(path, _COLUMNS):
        where = f"'{path}', line {line}"
        if not is_split(split):
            known = ", ".join((*SPLITS, LEFT_OUT, *fold_names(2)))
            raise DataError(f"{where}: the split is {split!r}; give one of {known} and so on")
        if name in rows:
            raise DataError(f"{where}: clip {name!r} is listed twice; keep one of the lines")
        try:
            rows[name] = SplitRow(Clip(name, label, group), split)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    found = Split(tuple(rows.values()))
    check_usable(found, path)
    return found


def check_usable(split: Split, path: Path) -> None:
    """Check that models can be trained, validated and tested on the split; `path` names it in errors.

    Raises:
        DataError: a group is in two parts, parts or classes are missing; see `read_split`.
    """
    _check_groups_whole(split, path)
    _check_parts(split, path)
    trained = {"train", *fold_names(split.folds)}
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for row in split.rows:
        labels[row.split].add(row.clip.label)
    if len(split.classes) < 2:
        raise DataError(
            f"'{path}': {'the folds have' if split.folds else 'train has'} {len(split.classes)} class(es), but at "
            "least two are needed; add groups of other classes"
        )
    for part in split.parts:
        if not labels[part]:
            raise DataError(f"'{path}': {part} has no clips; make a new split, or move whole groups to it")
        if part == "train":
            continue
        untrained = sorted(labels[part].difference(*(labels[other] for other in trained - {part})))
        if untrained:
            folds = f"in no {'' if part == 'test' else 'other '}fold, nor in train"
            elsewhere = folds if split.folds else "not in train"
            raise DataError(f"'{path}': class {untrained[0]!r} is in {part} but {elsewhere}; add groups of it there")


def _check_groups_whole(split: Split, path: Path) -> None:
    part_of: dict[str, str] = {}
    for row in split.rows:
        if row.split != LEFT_OUT and part_of.setdefault(row.clip.group, row.split) != row.split:
            raise DataError(
                f"'{path}': group {row.clip.group!r} is in {part_of[row.clip.group]} and, with {row.clip.path!r}, in "
                f"{row.split}; keep each group in one part"
            )


def _check_parts(split: Split, path: Path) -> None:
    """Raise DataError unless the parts are train, val and test, or test and folds numbered from 1."""
    if not split.folds:
        return
    found = {row.split for row in split.rows}
    if "val" in found:
        raise DataError(f"'{path}' has folds and a val part; move the clips of val to folds or to train")
    missing = [name for name in fold_names(max(split.folds, 2)) if name not in found]
    if missing:
        raise DataError(f"'{path}' has folds, but no {missing[0]}; number at least two folds from 1")
