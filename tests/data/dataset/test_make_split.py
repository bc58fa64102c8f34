from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clip import Clip
from data.dataset.splits import (
    LEFT_OUT,
    SPLITS,
    Split,
)
from data.dataset.stratify import FEW_GROUPS, make_folds, make_split
from data.errors import DataError
from tests.helpers.labelled_clips import FEW_GROUPS_CLIPS, MIXED_GROUPS, SINGLE_CLASS_GROUPS, clips_of, mixed_clips
from tests.helpers.messages import exactly


def clip_counts(split: Split) -> dict[str, list[int]]:
    labels = {row.clip.label for row in split.rows}
    counts = Counter((row.clip.label, row.split) for row in split.rows)
    return {label: [counts[label, part] for part in split.parts] for label in labels}


def cost_of(counts: dict[str, list[int]]) -> float:
    return sum(
        (count - sum(found) * share) ** 2 / sum(found)
        for found in counts.values()
        for count, share in zip(found, (0.7, 0.15, 0.15), strict=True)
    )


def lowest_cost(clips: list[Clip]) -> float | None:
    """Return the lowest cost of all assignments that have each class in each part; None if there are none."""
    contents: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        contents[clip.group][clip.label] += 1
    labels = {clip.label for clip in clips}
    costs = []
    for parts in itertools.product(range(3), repeat=len(contents)):
        counts = {label: [0, 0, 0] for label in labels}
        for part, content in zip(parts, contents.values(), strict=True):
            for label, count in content.items():
                counts[label][part] += count
        if all(all(found) for found in counts.values()):
            costs.append(cost_of(counts))
    return min(costs, default=None)


@given(SINGLE_CLASS_GROUPS, st.integers())
@settings(deadline=None)
def test_split_assigns_every_clip_once_with_whole_groups_and_all_classes(clips: list[Clip], seed: int) -> None:
    split = make_split(clips, seed=seed)
    assert [row.clip for row in split.rows] == sorted(clips)
    parts_of: defaultdict[str, set[str]] = defaultdict(set)
    for row in split.rows:
        parts_of[row.clip.group].add(row.split)
    assert {len(found) for found in parts_of.values()} == {1}
    assert all(all(counts) for counts in clip_counts(split).values())
    assert split.classes == tuple(sorted({clip.label for clip in clips}))


@given(MIXED_GROUPS, st.integers(0, 9))
@settings(deadline=None)
def test_mixed_groups_stay_whole_wherever_a_split_exists(clips: list[Clip], seed: int) -> None:
    labels = {clip.label for clip in clips}
    few = {label for label in labels if len({clip.group for clip in clips if clip.label == label}) < 3}
    clips = [clip for clip in clips if clip.label not in few]
    if len(labels - few) < 2:
        return
    if lowest_cost(clips) is None:
        with pytest.raises(DataError, match=r"^found no split that has class '[abcd]' \(\d+ clips in \d groups\)"):
            make_split(clips, seed=seed)
        return
    split = make_split(clips, seed=seed)
    part_of = {row.clip.group: row.split for row in split.rows}
    assert all(part_of[row.clip.group] == row.split for row in split.rows)
    assert all(all(counts) for counts in clip_counts(split).values())


@given(st.one_of(SINGLE_CLASS_GROUPS, MIXED_GROUPS), st.randoms(), st.sampled_from(FEW_GROUPS[1:]))
@settings(deadline=None)
def test_split_does_not_depend_on_the_order_of_clips(clips: list[Clip], random: Random, few_groups: str) -> None:
    def outcome(clips: list[Clip]) -> str:
        try:
            return make_split(clips, few_groups=few_groups).to_csv()
        except DataError as error:
            return str(error)

    shuffled = list(clips)
    random.shuffle(shuffled)
    assert outcome(shuffled) == outcome(clips)


@given(
    st.lists(st.integers(7, 60), min_size=2, max_size=8),
    st.sampled_from([(0.15, 0.15), (0.2, 0.1), (0.1, 0.3), (1 / 3, 1 / 3)]),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=20)
def test_groups_of_one_clip_come_within_one_clip_of_each_share(
    sizes: list[int], fractions: tuple[float, float], seed: int
) -> None:
    val, test = fractions
    clips = clips_of(**{f"c{number}": [1] * size for number, size in enumerate(sizes)})
    for counts in clip_counts(make_split(clips, val=val, test=test, seed=seed)).values():
        for count, share in zip(counts, (1 - val - test, val, test), strict=True):
            assert abs(count - share * sum(counts)) <= 1


def test_split_has_the_lowest_cost_of_all_assignments() -> None:
    random = Random(0)
    lowest, reached = [], []
    for _ in range(40):
        clips = mixed_clips(["".join(random.choices("abc", k=random.randint(1, 6))) for _ in range(7)])
        cost = lowest_cost(clips)
        if cost is not None:
            lowest.append(cost)
            reached.append(cost_of(clip_counts(make_split(clips))))
    assert len(lowest) > 30
    assert reached == pytest.approx(lowest)


def test_many_mixed_groups_come_near_the_shares() -> None:
    random = Random(0)
    clips = mixed_clips(["".join(random.choices("abcdefghijkl", k=random.randint(4, 14))) for _ in range(30)])
    # Without swaps of groups 0.77 is reached, without moves of single ones 0.61.
    assert cost_of(clip_counts(make_split(clips))) < 0.6


def test_split_has_a_known_hash() -> None:
    clips = clips_of(squat=[1] * 40, **{"pull Up": [5, 9, 1, 2, 2, 7], "Überzug": [3, 3, 3]})
    clips += mixed_clips(["ab", "aab", "b", "abb", "a"])
    assert make_split(clips, seed=7).sha256 == "c4aea6ff17f7701398d5a17c522113ef7657ef8420e674b6c1e25efc97eb249a"


def test_total_is_near_the_shares_if_every_class_rounds_alike() -> None:
    split = make_split(clips_of(**{f"c{number}": [1] * 10 for number in range(20)}))
    assert {tuple(counts) for counts in clip_counts(split).values()} == {(7, 1, 2), (7, 2, 1)}
    assert [len(split.clips(name)) for name in SPLITS] == [140, 30, 30]


def test_test_clips_come_from_small_groups_at_equal_cost() -> None:
    split = make_split(clips_of(a=[8, 8, 8, 8, 8, 2, 2, 2, 2, 2, 2], b=[9, 9, 9, 9, 9, 3, 3, 3, 3, 3]))
    assert clip_counts(split) == {"a": [36, 8, 8], "b": [42, 9, 9]}
    assert Counter(clip.group for clip in split.clips("test")).most_common(1)[0][1] <= 3


def test_train_gets_the_largest_of_three_groups() -> None:
    split = make_split(clips_of(a=[2, 60, 5], b=[9, 10, 9]))
    assert {label: counts[0] for label, counts in clip_counts(split).items()} == {"a": 60, "b": 10}


def test_seed_changes_a_large_split_but_not_its_shares() -> None:
    clips = clips_of(a=[1] * 100, b=[1] * 40)
    first, second = make_split(clips, seed=0), make_split(clips, seed=1)
    assert clip_counts(first) == clip_counts(second) == {"a": [70, 15, 15], "b": [28, 6, 6]}
    common = {clip.path for clip in first.clips("test")} & {clip.path for clip in second.clips("test")}
    assert len(common) < 12


def test_groups_with_every_class_stay_whole_and_meet_the_shares() -> None:
    clips = mixed_clips(["abcdefgh" * (1 + number % 3) for number in range(14)])
    split = make_split(clips)
    groups = [{clip.group for clip in split.clips(name)} for name in SPLITS]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    for counts in clip_counts(split).values():
        assert counts == [19, 4, 4]


def test_search_backtracks_where_a_greedy_choice_fails() -> None:
    # A ring of classes with three groups each, where neighbours share one group: few assignments are possible.
    size = 60
    clips = [
        Clip(f"c{label}/{group}.mp4", f"c{label}", f"g{group % (2 * size)}")
        for label in range(size)
        for group in (2 * label, 2 * label + 1, 2 * label + 2)
    ]
    assert all(counts == [1, 1, 1] for counts in clip_counts(make_split(clips)).values())


def test_search_covers_300_classes_that_share_groups() -> None:
    random = Random(0)
    clips = [
        Clip(f"c{label}/{group}.mp4", f"c{label}", f"g{group}")
        for label in range(300)
        for group in random.sample(range(500), random.choice([3, 4]))
    ]
    assert all(all(counts) for counts in clip_counts(make_split(clips)).values())


def test_impossible_split_raises_and_names_the_class() -> None:
    # g0 and g1 differ, so g2 and g3 are both of the third split, where c needs them apart.
    clips = mixed_clips(["ab", "ab", "ac", "bc", "c"])
    expected = (
        "found no split that has class 'c' (3 clips in 3 groups) in train, val and test, because it shares "
        "groups with other classes; add clips of it in groups of their own"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        make_split(clips)
    # A class with more groups shares one of them, and isn't blamed.
    wide = [Clip("d/0.mp4", "d", "g4"), *clips_of(d=[1, 1, 1, 1])]
    with pytest.raises(DataError, match=exactly(expected)):
        make_split(clips + wide)
    assert make_split([*clips, Clip("c/more.mp4", "c", "own")]).classes == ("a", "b", "c")


def test_100_000_clips_come_near_the_shares() -> None:
    clips = [
        Clip(f"c{group % 100}/{number}.mp4", f"c{(group + number % 2) % 100}", f"g{group}")
        for number in range(100_000)
        for group in [number * number % 20_011]
    ]
    for counts in clip_counts(make_split(clips)).values():
        assert counts[1] / sum(counts) == pytest.approx(0.15, abs=0.01)
        assert counts[2] / sum(counts) == pytest.approx(0.15, abs=0.01)
    for counts in clip_counts(make_folds(clips, folds=5)).values():
        assert counts[-1] / sum(counts) == pytest.approx(0.15, abs=0.01)
        assert max(counts[:-1]) - min(counts[:-1]) < 0.015 * sum(counts)


def test_classes_with_few_groups_raise() -> None:
    hint = (
        "but train, val and test need 3 groups; pass --few-groups leave-out (drop the class) or "
        "--few-groups train (train on it, never test it)"
    )
    with pytest.raises(DataError, match=exactly(f"class 'dip' has 10 clips in 2 groups, {hint}")):
        make_split([clip for clip in FEW_GROUPS_CLIPS if clip.label != "row"])
    expected = f"class 'dip' has 10 clips in 2 groups, class 'row' has 1 clip in 1 group, {hint}"
    with pytest.raises(DataError, match=exactly(expected)):
        make_split(FEW_GROUPS_CLIPS)


def test_classes_with_few_groups_are_left_out() -> None:
    clips = [*FEW_GROUPS_CLIPS, Clip("dip/mixed.mp4", "dip", "squat-0")]
    clips = [clip for clip in clips if clip.group != "dip-0"]
    split = make_split(clips, few_groups="leave-out")
    assert {clip.label for clip in split.clips(LEFT_OUT)} == {"dip", "row"}
    assert len(split.clips(LEFT_OUT)) == 9
    assert split.classes == ("press", "squat")
    assert len(split.rows) == len(clips)
    assert make_split(clips, few_groups="leave-out").rows == split.rows


def test_classes_with_few_groups_are_trained_on() -> None:
    clips = [*FEW_GROUPS_CLIPS, Clip("dip/mixed.mp4", "row", "squat-3")]
    for seed in range(5):
        split = make_split(clips, few_groups="train", seed=seed)
        assert split.clips(LEFT_OUT) == []
        assert clip_counts(split) | {"squat": [], "press": []} == {
            "dip": [10, 0, 0],
            "row": [2, 0, 0],
            "squat": [],
            "press": [],
        }
        assert all(row.split == "train" for row in split.rows if row.clip.group == "squat-3")
        assert all(all(clip_counts(split)[label]) for label in ("squat", "press"))


def test_group_required_in_train_may_make_the_split_impossible() -> None:
    clips = mixed_clips(["ax", "ax", "a", "b", "b", "b"])
    with pytest.raises(DataError, match=r"^found no split that has class 'a' \(3 clips in 3 groups\)"):
        make_split(clips, few_groups="train")
    assert make_split(clips, few_groups="leave-out").classes == ("a", "b")


def test_too_few_classes_raise() -> None:
    expected = "a split needs clips of at least two classes, not 1; add clips of other classes"
    with pytest.raises(DataError, match=exactly(expected)):
        make_split(clips_of(a=[1, 1, 1]))
    expected = (
        "class 'b' has 2 clips in 2 groups: leaving out each class with fewer than 3 groups leaves 1 of 2 "
        "classes, but at least 2 are needed; add clips from other groups"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        make_split(clips_of(a=[1, 1, 1], b=[1, 1]), few_groups="leave-out")
    expected = (
        "class 'a' has 4 clips in 1 group, class 'b' has 2 clips in 2 groups: no class has the 3 groups that "
        "train, val and test need, so nothing would be tested; add clips from other groups"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        make_split(clips_of(a=[4], b=[1, 1]), few_groups="train")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"val": 0}, "val is 0; give a fraction above 0, such as 0.15"),
        ({"test": -0.1}, "test is -0.1; give a fraction above 0, such as 0.15"),
        ({"val": float("nan")}, "val is nan; give a fraction above 0, such as 0.15"),
        (
            {"val": 0.9, "test": 0.1},
            "val 0.9 and test 0.1 leave nothing to train on; their sum must be below 1",
        ),
        ({"few_groups": "drop"}, "few_groups is 'drop'; give one of refuse, leave-out, train"),
    ],
)
def test_settings_out_of_range_raise(settings: dict, expected: str) -> None:
    with pytest.raises(DataError, match=exactly(expected)):
        make_split(clips_of(a=[1, 1, 1], b=[1, 1, 1]), **settings)
