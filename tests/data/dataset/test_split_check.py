from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from data.clip import Clip
from data.dataset.label_files import LabelRow, Labels
from data.dataset.split_check import check_split_classes, fit_split
from data.dataset.splits import Split, SplitRow
from data.dataset.stratify import make_folds, make_split
from data.errors import DataError
from tests.helpers.labelled_clips import clips_of
from tests.helpers.messages import exactly

CLIPS = Path("clips")
DECOMPOSED = unicodedata.normalize("NFD", "Liegestütz")


def paths(clips: list[Clip]) -> list[str]:
    return sorted(clip.path for clip in clips)


def split_of(*rows: tuple[str, str]) -> Split:
    """Return a split of clips with these paths and classes, which are train, val and test by turns."""
    parts = ("train", "val", "test")
    return Split(
        tuple(SplitRow(Clip(path, label, path), parts[number % 3]) for number, (path, label) in enumerate(rows))
    )


def test_unlisted_videos_are_returned() -> None:
    clips = clips_of(a=[1, 1, 1, 1], b=[1, 1, 1], dip=[2])
    kept = [clip.path for clip in clips if clip.label != "dip"]
    more = ["a/new.mp4", "b/new.mp4"]
    for split in (make_split(clips, few_groups="leave-out"), make_folds(clips, folds=2, few_groups="leave-out")):
        assert fit_split(split, CLIPS, paths(clips)) == (split, [])
        assert fit_split(split, CLIPS, sorted(more + kept)) == (split, more)
        with pytest.raises(DataError, match=r"^1 of the split's 7 clips are not in 'clips', the first is 'a/0-0.mp4'"):
            fit_split(split, CLIPS, paths(clips)[1:])


def test_missing_clips_are_named_beside_the_nearest() -> None:
    clips = clips_of(a=[1, 1, 1], b=[1, 1, 1])
    expected = (
        "2 of the split's 6 clips are not in 'clips', the first is 'a/0-0.mp4' (nearest: a/00.mp4); put them back, or "
        "make a new split"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        fit_split(make_split(clips), CLIPS, ["a/00.mp4", *paths(clips)[1:-1]])


def test_paths_are_written_as_in_the_folder() -> None:
    split = split_of(("./a/1.mp4", "a"), ("clips\\a\\2.mp4", "a"), ("Liegestütz/3.mp4", "Liegestütz"))
    found, unlisted = fit_split(split, CLIPS, ["a/1.mp4", "a/2.mp4", f"{DECOMPOSED}/3.mp4"])
    assert [row.clip.path for row in found.rows] == [f"{DECOMPOSED}/3.mp4", "a/1.mp4", "a/2.mp4"]
    assert unlisted == []


def test_class_of_another_folder_raises() -> None:
    split = split_of(("a/1.mp4", "b"), ("b/2.mp4", "b"))
    expected = "clip 'a/1.mp4' is of class 'b' in the split and of class 'a' in 'clips'; correct the wrong one, or make"
    with pytest.raises(DataError, match=exactly(f"{expected} a new split")):
        check_split_classes(split, CLIPS, ["a/1.mp4", "b/2.mp4"])
    labels = Labels({"a/1.mp4": LabelRow("b"), "b/2.mp4": LabelRow("b")})
    assert check_split_classes(split, CLIPS, ["a/1.mp4", "b/2.mp4"], labels) == split


def test_split_folders_are_no_classes_of_a_split() -> None:
    videos = ["test/a/1.mp4", "train/a/2.mp4", "train/b/3.mp4"]
    split = split_of(("test/a/1.mp4", "a"), ("train/a/2.mp4", "a"), ("train/b/3.mp4", "b"))
    assert check_split_classes(split, CLIPS, videos) == split
    with pytest.raises(DataError, match="is of class 'test' in the split and of class 'a' in 'clips'"):
        check_split_classes(split_of(("train/a/2.mp4", "train"), ("test/a/1.mp4", "test")), CLIPS, videos)


def test_classes_that_no_folder_has_are_accepted() -> None:
    split = split_of(("monday/1.mp4", "squat"), ("2.mp4", "dip"))
    assert check_split_classes(split, CLIPS, ["2.mp4", "monday/1.mp4"]) == split


def test_classes_that_look_alike_raise_or_are_merged() -> None:
    split = split_of(("push_up/1.mp4", "push_up"), ("push-up/2.mp4", "push-up"), ("push-up/3.mp4", "push-up"))
    videos = ["push-up/2.mp4", "push-up/3.mp4", "push_up/1.mp4"]
    with pytest.raises(DataError, match="class names look alike: 'push-up' and 'push_up'"):
        check_split_classes(split, CLIPS, videos)
    merged = check_split_classes(split, CLIPS, videos, merge_classes=True)
    assert {row.clip.label for row in merged.rows} == {"push-up"}
