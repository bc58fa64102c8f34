from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clip import Clip
from data.dataset.split_report import split_report
from data.dataset.splits import Split, SplitRow
from data.dataset.stratify import make_folds, make_split
from data.intervals import wilson_interval


def split_of(**parts: dict[str, list[int]]) -> Split:
    """Return a split whose parts have classes with groups of these sizes; `_` in a part's name stands for `-`."""
    return Split(
        tuple(
            SplitRow(Clip(f"{label}/{part}-{number}-{index}.mp4", label, f"{label}-{part}-{number}"), part)
            for part, classes in ((name.replace("_", "-"), classes) for name, classes in parts.items())
            for label, sizes in classes.items()
            for number, size in enumerate(sizes)
            for index in range(size)
        )
    )


def test_report_has_table_legend_notes_and_warnings() -> None:
    split = split_of(
        train={"dip": [3, 7], "pull Up": [20], "squat": [4, 4, 4]},
        val={"pull Up": [3], "squat": [2, 2]},
        test={"pull Up": [7], "squat": [3, 1, 1, 1]},
        left_out={"row": [1]},
    )
    assert split_report(split).splitlines() == [
        "clips (groups)      train    val    test    left-out  test, by clip           by group",
        "----------------  -------  -----  ------  ----------  ----------------------  ---------------------",
        "dip                10 (2)  0 (0)   0 (0)       0 (0)  -                       -",
        "pull Up            20 (1)  3 (1)   7 (1)       0 (0)  6 of 7: 49–97 %, ±24    1 of 1: 21–100 %, ±40",
        "row                 0 (0)  0 (0)   0 (0)       1 (1)  -                       -",
        "squat              12 (3)  4 (2)   6 (4)       0 (0)  5 of 6: 44–97 %, ±27    3 of 3: 44–100 %, ±28",
        "all                42 (6)  7 (3)  13 (5)       1 (1)  11 of 13: 58–96 %, ±19  3 of 3: 44–100 %, ±28",
        "by clip: 95 % interval of the recall when about 85 % of these test clips are classified correctly; ± is half "
        "its width in percentage points",
        "by group: the same if the clips of a group are always all right or all wrong, with the effective number of "
        "clips; the truth is between the two",
        "note: trained on but never tested: 'dip'",
        "warning: too few test clips, the 95 % interval is wider than 50 points: 'squat' (53 points)",
        "warning: only one group in test: 'pull Up'",
        "warning: one group has more than half of the clips: 'dip' (7 of 10 clips in 'dip-train-1'), 'pull Up' "
        "(20 of 30 clips in 'pull Up-train-0')",
    ]


def test_report_names_classes_missing_from_folds() -> None:
    split = split_of(
        fold_1={"a": [1], "b": [1, 1]},
        fold_2={"a": [1]},
        fold_3={"a": [1], "b": [2]},
        train={"c": [1]},
        test={"a": [1] * 20, "b": [1] * 20},
    )
    header, _, *lines = split_report(split).splitlines()
    assert header.split()[:8] == ["clips", "(groups)", "fold-1", "fold-2", "fold-3", "train", "test", "test,"]
    assert [line for line in lines if line.startswith(("note", "warning: one"))] == [
        "note: trained on but never tested: 'c'",
        "note: class 'b' has too few groups for every fold; it is in 2 of 3 (1, 3)",
        "warning: one group has more than half of the clips: 'c' (1 of 1 clips in 'c-train-0')",
    ]


def test_clips_in_groups_of_their_own_have_one_interval() -> None:
    report = split_report(split_of(train={"a": [1] * 8, "b": [1] * 8}, val={"a": [1]}, test={"a": [1] * 8, "b": [1]}))
    assert "by group" not in report
    assert report.splitlines()[2].endswith("7 of 8: 53–98 %, ±22")
    assert "warning: only one group in test: 'b'" in report
    assert "'b' (79 points)" in report


def test_class_named_all_has_its_own_line() -> None:
    lines = split_report(split_of(train={"all": [1], "b": [1]}, val={"b": [1]}, test={"all": [1]})).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("all ")] == ["1", "2"]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 3))
def test_counts_and_intervals_match_the_split(sizes: list[int], more: int) -> None:
    split = split_of(train={"a": [1, 1], "b": [1] * (1 + more)}, val={"a": [1]}, test={"a": sizes, "b": [1]})
    line = next(line for line in split_report(split).splitlines() if line.startswith("a "))
    assert re.findall(r"(\d+) \((\d+)\)", line) == [("2", "2"), ("1", "1"), (str(sum(sizes)), str(len(sizes)))]
    by_clip, *by_group = re.findall(r"(\d+) of (\d+): (\d+)–(\d+) %, ±(\d+)", line)
    assert int(by_clip[1]) == sum(sizes)
    assert by_group or max(sizes) == 1 == len(set(sizes))
    for hits, trials, low, high, half in ([*map(int, found)] for found in (by_clip, *by_group)):
        assert abs(hits / trials - 0.85) <= 0.5 / trials + 1e-9
        assert (low, high) == pytest.approx([100 * end for end in wilson_interval(hits, trials)], abs=0.51)
        assert 1 <= trials <= sum(sizes)
        assert half == pytest.approx((high - low) / 2, abs=1.01)
    for found in by_group:
        assert int(found[1]) <= len(sizes)


def test_effective_number_of_equal_groups_is_their_number() -> None:
    report = split_report(split_of(train={"a": [1], "b": [1]}, val={"a": [1]}, test={"a": [4, 4, 4], "b": [9]}))
    line = next(line for line in report.splitlines() if line.startswith("a "))
    assert line.endswith("3 of 3: 44–100 %, ±28")


def test_table_counts_the_clips_of_made_splits() -> None:
    clips = [Clip(f"{label}/{n}.mp4", label, f"{label}-{n // 3}") for label in ("a", "b") for n in range(30)]
    for split in (make_split(clips), make_folds(clips, folds=4)):
        table = split_report(split).splitlines()[2:5]
        for line, label in zip(table, ("a", "b", None), strict=True):
            wanted = [[clip for clip in split.clips(part) if label in (clip.label, None)] for part in split.parts]
            counts = [(str(len(found)), str(len({clip.group for clip in found}))) for found in wanted]
            assert re.findall(r"(\d+) \((\d+)\)", line) == counts
