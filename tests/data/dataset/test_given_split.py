from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from data.clip import Clip
from data.dataset.given_split import given_split, unused_split_settings
from data.errors import DataError

CLIPS = Path("clips")


def clips_and_splits(**counts: int) -> tuple[list[Clip], dict[str, str]]:
    """Return clips of two classes, `counts` per class and split and two per group, and their splits."""
    clips, splits = [], {}
    for split, count in counts.items():
        for label in ("dip", "squat"):
            for number in range(count):
                path = f"{split}/{label}/{number}.mp4"
                clips.append(Clip(path, label, f"{split} {label} {number // 2}"))
                splits[path] = split
    return clips, splits


def test_split_is_that_of_the_clips() -> None:
    clips, splits = clips_and_splits(train=4, val=2, test=2)
    assert {row.clip.path: row.split for row in given_split(clips, splits, CLIPS).rows} == splits
    assert unused_split_settings(splits) == {"test", "folds", "few_groups", "val", "seed"}


def test_val_is_cut_from_train_by_groups() -> None:
    clips, splits = clips_and_splits(train=8, test=2)
    split = given_split(clips, splits, CLIPS, val=0.25)
    assert Counter(row.split for row in split.rows) == {"train": 12, "val": 4, "test": 4}
    assert {row.clip.path for row in split.rows if row.split == "test"} == {p for p, s in splits.items() if s == "test"}
    assert len({(row.clip.group, row.split) for row in split.rows}) == len({row.clip.group for row in split.rows})
    assert {clip.label for clip in split.clips("val")} == {"dip", "squat"}
    assert unused_split_settings(splits) == {"test", "folds", "few_groups"}


def test_class_with_one_training_group_stays_in_train() -> None:
    clips, splits = clips_and_splits(train=8, test=2)
    clips.append(Clip("train/row/0.mp4", "row", "r"))
    split = given_split(clips, splits | {"train/row/0.mp4": "train"}, CLIPS)
    assert {row.split for row in split.rows if row.clip.label == "row"} == {"train"}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train": 4, "val": 2}, "the clips in 'clips' come with train and val, but without test; add it, or give"),
        ({"val": 4, "test": 2}, "the clips in 'clips' come with test and val, but without train; add it, or give"),
        ({"train": 2, "test": 2}, "no class has the 2 groups that train and val need"),
    ],
)
def test_missing_part_raises(counts: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        given_split(*clips_and_splits(**counts), CLIPS)


def test_group_in_two_splits_raises() -> None:
    clips, splits = clips_and_splits(train=4, val=2, test=2)
    joined = [Clip(clip.path, clip.label, "one" if clip.label == "dip" else clip.group) for clip in clips]
    with pytest.raises(DataError, match=r"^'clips': group 'one' is in test and, with .*, or give --split merge to"):
        given_split(joined, splits, CLIPS)
