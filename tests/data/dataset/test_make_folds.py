from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from random import Random
from statistics import mean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from data.clip import Clip
from data.dataset.splits import (
    LEFT_OUT,
    Split,
    fold_names,
)
from data.dataset.stratify import FEW_GROUPS, make_folds
from data.errors import DataError
from tests.helpers.labelled_clips import FEW_GROUPS_CLIPS, MIXED_GROUPS, SINGLE_CLASS_GROUPS, clips_of, mixed_clips
from tests.helpers.messages import exactly


def fold_counts(split: Split) -> dict[str, list[int]]:
    """Return the clips of each class in fold-1, fold-2 and so on, and last in test."""
    counts = Counter((row.clip.label, row.split) for row in split.rows)
    labels = {row.clip.label for row in split.rows}
    return {label: [counts[label, name] for name in (*fold_names(split.folds), "test")] for label in labels}


def assignment_exists(clips: list[Clip], folds: int, wanted: dict[str, int]) -> bool:
    """Return whether an assignment has each class in test and in at least as many parts as `wanted` says."""
    contents: defaultdict[str, set[str]] = defaultdict(set)
    for clip in clips:
        contents[clip.group].add(clip.label)
    for parts in itertools.product(range(folds + 1), repeat=len(contents)):
        held: defaultdict[str, set[int]] = defaultdict(set)
        for part, labels in zip(parts, contents.values(), strict=True):
            for label in labels:
                held[label].add(part)
        if all(folds in held[label] and len(held[label]) >= count for label, count in wanted.items()):
            return True
    return False


@given(SINGLE_CLASS_GROUPS, st.integers(2, 5), st.integers())
@settings(deadline=None, max_examples=50)
def test_folds_have_whole_groups_even_sizes_and_every_class(clips: list[Clip], folds: int, seed: int) -> None:
    sizes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        sizes[clip.label][clip.group] += 1
    folds = min(folds, max(map(len, sizes.values())) - 1)
    split = make_folds(clips, folds=folds, seed=seed)
    assert split.folds == folds
    assert [row.clip for row in split.rows] == sorted(clips)
    assert len({(row.clip.group, row.split) for row in split.rows}) == sum(map(len, sizes.values()))
    for label, (*counts, test) in fold_counts(split).items():
        assert test > 0
        assert sum(map(bool, counts)) == min(folds, len(sizes[label]) - 1)
        assert max(counts) - min(counts) <= max(sizes[label].values())


@given(MIXED_GROUPS, st.integers(2, 3), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_folds_of_mixed_groups_have_every_class_wherever_possible(clips: list[Clip], folds: int, seed: int) -> None:
    groups = Counter(label for label, _ in {(clip.label, clip.group) for clip in clips})
    clips = [clip for clip in clips if groups[clip.label] >= 3]
    if len({clip.label for clip in clips}) < 2 or folds >= max(groups.values()):
        return
    everywhere = {label: min(folds + 1, count) for label, count in groups.items() if count >= 3}
    if not assignment_exists(clips, folds, dict.fromkeys(everywhere, 3)):
        with pytest.raises(DataError, match=r"^found no split that has class '[abcd]' .* in test and two folds, "):
            make_folds(clips, folds=folds, seed=seed)
        return
    split = make_folds(clips, folds=folds, seed=seed)
    assert len({(row.clip.group, row.split) for row in split.rows}) == len({clip.group for clip in clips})
    counts = fold_counts(split)
    part_counts = {label: sum(map(bool, found)) for label, found in counts.items()}
    assert all(counts[label][-1] and part_counts[label] >= 3 for label in counts)
    if part_counts != everywhere:
        better = [
            {**part_counts, label: part_counts[label] + 1}
            for label in part_counts
            if part_counts[label] < everywhere[label]
        ]
        assert not any(assignment_exists(clips, folds, wanted) for wanted in better)


@given(st.one_of(SINGLE_CLASS_GROUPS, MIXED_GROUPS), st.randoms(), st.sampled_from(FEW_GROUPS[1:]), st.integers())
@settings(deadline=None, max_examples=50)
def test_folds_do_not_depend_on_the_order_of_clips(
    clips: list[Clip], random: Random, few_groups: str, seed: int
) -> None:
    def outcome(clips: list[Clip]) -> str:
        try:
            return make_folds(clips, folds=2, few_groups=few_groups, seed=seed).to_csv()
        except DataError as error:
            return str(error)

    shuffled = list(clips)
    random.shuffle(shuffled)
    assert outcome(shuffled) == outcome(clips)


def test_folds_have_a_known_hash() -> None:
    clips = clips_of(squat=[1] * 40, **{"pull Up": [5, 9, 1, 2, 2, 7], "Überzug": [3, 3, 3]})
    clips += mixed_clips(["ab", "aab", "b", "abb", "a"])
    first, other = (make_folds(clips, folds=4, seed=seed) for seed in (7, -7))
    assert first.sha256 == "c0464167705d3f50ead615e13e24a3a845cb006225b6491267b61fa34930744d"
    assert first.sha256 != other.sha256
    assert sorted(map(sorted, fold_counts(first).values())) == sorted(map(sorted, fold_counts(other).values()))


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_folds_are_more_even_than_stratified_group_k_fold_and_lack_fewer_classes() -> None:
    random = Random(0)
    uneven: dict[str, list[float]] = {"ours": [], "theirs": []}
    lacking: Counter[str] = Counter()
    for _ in range(15):
        clips = mixed_clips(["".join(random.choices("abcdef", k=random.randint(1, 5))) for _ in range(24)])
        rest = [row for row in make_folds(clips, folds=4).rows if row.split != "test"]
        labels, groups = [row.clip.label for row in rest], [row.clip.group for row in rest]
        theirs = [""] * len(rest)
        folds = StratifiedGroupKFold(4, shuffle=True, random_state=0).split(labels, labels, groups)
        for name, (_, scored) in zip(fold_names(4), folds, strict=True):
            for index in scored:
                theirs[index] = name
        for who, parts in (("ours", [row.split for row in rest]), ("theirs", theirs)):
            counts = Counter(zip(labels, parts, strict=True))
            for label in set(labels):
                found = [counts[label, name] for name in fold_names(4)]
                reachable = min(4, len({group for group, other in zip(groups, labels, strict=True) if other == label}))
                uneven[who].append(pstdev(found) / sum(found))
                lacking[who] += reachable - sum(map(bool, found))
    assert mean(uneven["ours"]) < mean(uneven["theirs"])
    assert lacking["ours"] < lacking["theirs"]


def test_large_groups_stay_out_of_test() -> None:
    split = make_folds(clips_of(pull=[15, 8, 5, 3, 2, 1, 1], push=[14, 12, 8, 7], squat=[13, 5, 3, 1]), folds=6)
    assert {label: counts[-1] for label, counts in fold_counts(split).items()} == {"pull": 5, "push": 7, "squat": 3}


def test_class_with_shared_groups_is_in_fewer_folds() -> None:
    clips = mixed_clips(["bc", "ab", "ab", "c", "ac", "ac"])
    assert assignment_exists(clips, 3, {"a": 4, "b": 3, "c": 3})
    assert not assignment_exists(clips, 3, {"a": 4, "b": 3, "c": 4})
    part_counts = {label: sum(map(bool, counts)) for label, counts in fold_counts(make_folds(clips, folds=3)).items()}
    assert sorted(part_counts.items()) in ([("a", 3), ("b", 3), ("c", 4)], [("a", 4), ("b", 3), ("c", 3)])


def test_more_folds_than_groups_raise() -> None:
    clips = clips_of(a=[1, 1, 1], b=[2, 1, 1, 3, 1])
    assert make_folds(clips, folds=4).folds == 4
    expected = "folds is 5, but no class has the 6 groups that test and 5 folds need; give at most 4"
    with pytest.raises(DataError, match=exactly(expected)):
        make_folds(clips, folds=5)
    for folds in (1, 0, -2):
        with pytest.raises(DataError, match=exactly(f"folds is {folds}; give 2 or more")):
            make_folds(clips, folds=folds)
    with pytest.raises(DataError, match=exactly("test 1.0 leaves nothing to train on; it must be below 1")):
        make_folds(clips, folds=2, test=1.0)
    with pytest.raises(DataError, match=exactly("test is 0; give a fraction above 0, such as 0.15")):
        make_folds(clips, folds=2, test=0)


def test_classes_with_few_groups_are_in_no_fold() -> None:
    clips = [*FEW_GROUPS_CLIPS, Clip("squat/mixed.mp4", "squat", "row-0")]
    with pytest.raises(DataError, match=r"^class 'dip' has 10 clips in 2 groups, .*, but test and two folds need 3"):
        make_folds(clips, folds=2)
    left_out = make_folds(clips, folds=2, few_groups="leave-out")
    assert left_out.classes == ("press", "squat")
    assert Counter(row.clip.label for row in left_out.rows if row.split == LEFT_OUT) == {"dip": 10, "row": 1}
    trained = make_folds(clips, folds=2, few_groups="train")
    assert trained.parts == ("fold-1", "fold-2", "train", "test")
    assert trained.classes == ("dip", "press", "row", "squat")
    assert Counter(clip.label for clip in trained.clips("train")) == {"dip": 10, "row": 1, "squat": 1}
    for each in trained.rounds():
        assert {*trained.clips("train")} < {*each.train}
        assert {clip.label for clip in each.val} == {"press", "squat"}
        assert {clip.label for clip in each.train} == {"dip", "press", "row", "squat"}


def test_class_in_train_needs_only_one_fold() -> None:
    clips = [*clips_of(a=[1, 1, 1], b=[1, 1]), Clip("x/1.mp4", "x", "b-2"), Clip("b/2.mp4", "b", "b-2")]
    split = make_folds(clips, folds=2, few_groups="train")
    assert {clip.label for clip in split.clips("train")} == {"x", "b"}
    assert sorted(fold_counts(split)["b"]) == [0, 1, 1]
    assert fold_counts(split)["b"][-1] == 1
    assert all({clip.label for clip in each.train} == {"a", "b", "x"} for each in split.rounds())


def test_fold_without_clips_raises() -> None:
    # Class d is left with two groups that it does not share with a class of few groups: one for test, one for a fold.
    clips = mixed_clips(["d", "ad", "cd", "d", "bcd", "ab"])
    expected = "folds is 2, but whole groups fill only 1 of them; give fewer folds, or add clips from other groups"
    with pytest.raises(DataError, match=exactly(expected)):
        make_folds(clips, folds=2, few_groups="train")


def test_class_with_all_groups_in_train_raises() -> None:
    clips = mixed_clips(["a", "ab", "bc", "bc"])
    expected = (
        "found no split that has class 'b' (3 clips in 3 groups) in test and two folds, because it shares groups with "
        "other classes; add clips of it in groups of their own"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        make_folds(clips, folds=2, few_groups="train")
