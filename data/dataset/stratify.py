"""Stratified splits that keep groups whole."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from data.clip import Clip
from data.dataset.group_assignment import NoAssignmentError, assign_groups
from data.dataset.splits import LEFT_OUT, SPLITS, Split, SplitRow, fold_names
from data.errors import DataError

FEW_GROUPS = ("refuse", "leave-out", "train")
"""Ways to handle a class that has fewer than three groups."""

_FEWEST_GROUPS = 3
"""A class with fewer can't be in train, val and test."""


def make_split(
    clips: Sequence[Clip], *, val: float = 0.15, test: float = 0.15, seed: int = 0, few_groups: str = "refuse"
) -> Split:
    """Split clips into train, val and test so that groups stay whole and every class is in each part.

    The same clips, in any order, and the same settings give the same bytes on every machine.

    Args:
        clips: with their groups.
        val: fraction of each class's clips to put in val; the search comes as near to it as whole groups allow.
        test: the same for test.
        seed: chooses among splits that are equally good.
        few_groups: for a class with fewer than three groups, `refuse` it, `leave-out` its clips, or `train` on all of
            its groups (with the clips of other classes in them) and never test it.

    Raises:
        DataError: the fractions leave a part without clips, a class has too few groups, or groups that contain clips
            of several classes make the split impossible.
    """
    shares = _shares(val=val, test=test)
    return _split(clips, dict(zip(SPLITS, shares, strict=True)), seed, few_groups, needed="train, val and test")


def make_folds(
    clips: Sequence[Clip], *, folds: int, test: float = 0.15, seed: int = 0, few_groups: str = "refuse"
) -> Split:
    """Split clips into test and folds so that groups stay whole and every class is in test.

    A class is in every fold if it has enough groups besides the one in test, else in as many as its groups allow. It
    needs two folds, so that every round trains on it.

    The same clips, in any order, and the same settings give the same bytes on every machine.

    Args:
        clips: with their groups.
        folds: number of folds, over which the clips outside test are spread as evenly as whole groups allow.
        test: fraction of each class's clips to put in test.
        seed: chooses among splits that are equally good.
        few_groups: for a class with fewer than three groups, `refuse` it, `leave-out` its clips, or `train` on all of
            its groups (with the clips of other classes in them) in every round and never validate or test it.

    Raises:
        DataError: as `make_split`; or no class has enough groups to fill the folds.
    """
    rest, part = _shares(test=test)
    if folds < 2:
        raise DataError(f"folds is {folds}; give 2 or more")
    groups = Counter(label for label, _ in {(clip.label, clip.group) for clip in clips})
    most = max(groups.values(), default=0) - 1
    if folds > most >= 2:
        raise DataError(
            f"folds is {folds}, but no class has the {folds + 1} groups that test and {folds} folds need; "
            f"give at most {most}"
        )
    shares = {**dict.fromkeys(fold_names(folds), rest / folds), "test": part}
    split = _split(clips, shares, seed, few_groups, needed="test and two folds")
    if split.folds < folds:
        raise DataError(
            f"folds is {folds}, but whole groups fill only {split.folds} of them; give fewer folds, or add clips from "
            "other groups"
        )
    return split


def cut_val(clips: Sequence[Clip], *, val: float = 0.15, seed: int = 0) -> set[str]:
    """Return the groups of training clips to validate on instead; a class with one group stays in training.

    Args:
        clips: with their groups.
        val: fraction of each class's clips to validate on.
        seed: chooses among choices that are equally good.

    Raises:
        DataError: the fraction leaves nothing to train on, or no class has two groups.
    """
    rest, part = _shares(val=val)
    by_label: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips):
        by_label[clip.label].append(clip)
    single = {label for label, found in by_label.items() if _count_groups(found) < 2}
    train_only = {clip.group for label in single for clip in by_label[label]}
    several = [clip for clip in sorted(clips) if clip.label not in single]
    try:
        part_of = _assign(several, {"train": rest, "val": part}, train_only, seed, fewest=2) if several else {}
    except NoAssignmentError as error:
        raise DataError(
            f"no clips of class {error.label!r} ({_counts(by_label[error.label])}) can be cut from train for val, "
            "because it shares groups with other classes; add clips of it in groups of their own"
        ) from error
    found = {group for group, name in part_of.items() if name == "val"}
    if not found:
        raise DataError("no class has the 2 groups that train and val need; add clips from other groups")
    return found


def _shares(**fractions: float) -> list[Fraction]:
    """Return the fraction that is left for training, then the given fractions, exactly."""
    for name, value in fractions.items():
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"{name} is {value}; give a fraction above 0, such as 0.15")
    # By way of str, since 0.15 stands for the decimal number, not for the binary one next to it.
    exact = [Fraction(str(value)) for value in fractions.values()]
    if sum(exact) >= 1:
        given = " and ".join(f"{name} {value}" for name, value in fractions.items())
        leave, subject = ("leaves", "it") if len(fractions) == 1 else ("leave", "their sum")
        raise DataError(f"{given} {leave} nothing to train on; {subject} must be below 1")
    return [1 - sum(exact, Fraction()), *exact]


def _split(clips: Sequence[Clip], shares: Mapping[str, Fraction], seed: int, few_groups: str, *, needed: str) -> Split:
    """Assign clips to the parts of `shares`, the last of them test; `needed` names the parts a class must be in."""
    if few_groups not in FEW_GROUPS:
        raise DataError(f"few_groups is {few_groups!r}; give one of {', '.join(FEW_GROUPS)}")
    clips = sorted(clips)
    assert len({clip.path for clip in clips}) == len(clips), "a clip is given twice"
    by_label: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_label[clip.label].append(clip)
    few = {label for label, found in by_label.items() if _count_groups(found) < _FEWEST_GROUPS}
    _check_few(by_label, few, few_groups, needed)
    train_only = {clip.group for clip in clips if clip.label in few} if few_groups == "train" else set()
    try:
        part_of = _assign([clip for clip in clips if clip.label not in few], shares, train_only, seed)
    except NoAssignmentError as error:
        raise DataError(
            f"found no split that has class {error.label!r} ({_counts(by_label[error.label])}) in {needed}, because it "
            "shares groups with other classes; add clips of it in groups of their own"
        ) from error
    left_out = few if few_groups == "leave-out" else set()
    return Split(tuple(SplitRow(clip, LEFT_OUT if clip.label in left_out else part_of[clip.group]) for clip in clips))


def _assign(
    clips: Sequence[Clip],
    shares: Mapping[str, Fraction],
    train_only: set[str],
    seed: int,
    fewest: int = _FEWEST_GROUPS,
) -> dict[str, str]:
    """Return the part of each group, with each class in `fewest` parts or more.

    The groups in `train_only` are assigned to train, even if it has no share.
    """
    parts = list(shares)
    min_parts = {clip.label: fewest for clip in clips}
    clip_counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if clip.group not in train_only or "train" in parts:
            clip_counts[clip.group][clip.label] += 1
        else:
            # Every round trains on this class, so one fold is enough to validate it.
            min_parts[clip.label] = fewest - 1
    fixed = {group: parts.index("train") for group in train_only & clip_counts.keys()}
    unit = math.lcm(*(share.denominator for share in shares.values()))
    whole_shares = [int(share * unit) for share in shares.values()]
    # A fold is as small as test, so a group larger than either share would end up in test as often as in a fold, and
    # no round trains on test. Deviations of test therefore count more, the more folds there are.
    last_weight = 1 if "train" in parts else (len(parts) - 1) ** 2
    assigned = assign_groups(
        clip_counts, whole_shares, min_parts=min_parts, fixed=fixed, last_weight=last_weight, seed=seed
    )
    return {group: parts[part] for group, part in assigned.items()} | dict.fromkeys(train_only, "train")


def _check_few(by_label: Mapping[str, Sequence[Clip]], few: set[str], few_groups: str, needed: str) -> None:
    """Raise DataError if `few`, the classes with too few groups, can't be handled as `few_groups` says."""
    if len(by_label) < 2:
        raise DataError(f"a split needs clips of at least two classes, not {len(by_label)}; add clips of other classes")
    named = ", ".join(f"class {label!r} has {_counts(by_label[label])}" for label in sorted(few))
    if few and few_groups == "refuse":
        raise DataError(
            f"{named}, but {needed} need 3 groups; pass --few-groups leave-out (drop the class) or "
            "--few-groups train (train on it, never test it)"
        )
    left = len(by_label) - len(few)
    if few_groups == "leave-out" and left < 2:
        raise DataError(
            f"{named}: leaving out each class with fewer than 3 groups leaves {left} of {len(by_label)} classes, "
            "but at least 2 are needed; add clips from other groups"
        )
    if left == 0:
        raise DataError(
            f"{named}: no class has the 3 groups that {needed} need, so nothing would be tested; "
            "add clips from other groups"
        )


def _count_groups(clips: Sequence[Clip]) -> int:
    return len({clip.group for clip in clips})


def _counts(clips: Sequence[Clip]) -> str:
    groups = _count_groups(clips)
    return f"{len(clips)} clip{'' if len(clips) == 1 else 's'} in {groups} group{'' if groups == 1 else 's'}"
