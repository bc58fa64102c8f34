from __future__ import annotations

from pathlib import Path

import pytest

from data.dataset.clips import scan_clips
from data.dataset.layout import split_of_folder, split_of_list
from data.errors import DataError
from tests.helpers.clip_folders import make_files, make_split_folders
from tests.helpers.messages import exactly


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Train TRAINING trains training_set Train-Data videos_train trainset"),
        ("val", "val valid Validation VAL valids validations val_256 dev"),
        ("test", "test Testing tests test-set TestSet"),
        (None, "squat push_up trainer contest latest train_test_split set test_squat"),
    ],
)
def test_folders_of_splits_are_known_by_their_names(split: str | None, names: str) -> None:
    assert {name: split_of_folder(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("trainlist01", "train"),
        ("testlist01", "test"),
        ("kinetics400_val_list_videos", "val"),
        ("labels", None),
        ("train_test", None),
    ],
)
def test_lists_of_splits_are_known_by_their_names(name: str, split: str | None) -> None:
    assert split_of_list(name) == split


def test_split_folders_raise_with_both_ways(tmp_path: Path) -> None:
    make_split_folders(tmp_path, train=2, valid=1, Testing=1)
    expected = (
        f"'{tmp_path}' has split folders (Testing, train, valid): give --split folders to use these splits, or --split "
        "merge to ignore them"
    )
    with pytest.raises(DataError, match=exactly(expected)):
        scan_clips(tmp_path)


def test_split_folders_are_used_or_ignored(tmp_path: Path) -> None:
    make_split_folders(tmp_path, train=1, Validation=1, TESTS=1)
    used, merged = (scan_clips(tmp_path, split=split) for split in ("folders", "merge"))
    assert used.clips == merged.clips
    assert {(clip.path, clip.label) for clip in used.clips} == {
        (f"{split}/{label}/{split} 0.mp4", label)
        for split in ("train", "Validation", "TESTS")
        for label in ("push up", "squat")
    }
    assert merged.splits is None
    assert used.notes == merged.notes == ()
    assert used.splits is not None
    assert {path.split("/")[0]: split for path, split in used.splits.items()} == {
        "train": "train",
        "Validation": "val",
        "TESTS": "test",
    }


def test_split_folders_inside_class_folders_are_used(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/train/1.mp4", "squat/test/2.mp4", "push up/train/deep/3.mp4", "push up/test/4.mp4")
    with pytest.raises(DataError, match=r"has split folders \(test, train\)"):
        scan_clips(tmp_path)
    scan = scan_clips(tmp_path, split="folders")
    assert [clip.label for clip in scan.clips] == ["push up", "push up", "squat", "squat"]
    assert scan.splits is not None
    assert list(scan.splits.values()) == ["test", "train", "test", "train"]


@pytest.mark.parametrize("split", ["folders", "merge"])
def test_split_option_without_split_folders_raises(tmp_path: Path, split: str) -> None:
    make_files(tmp_path, "squat/train/1.mp4", "push up/2.mp4")
    with pytest.raises(DataError, match=rf"^--split {split} has no effect: '.*' has no split folders"):
        scan_clips(tmp_path, split=split)


def test_split_folders_without_class_folders_raise(tmp_path: Path) -> None:
    make_files(tmp_path, "train/1.mp4", "train/squat/2.mp4", "test/3.mp4")
    with pytest.raises(DataError, match=r"^2 of the videos in the split folders of '.*' are in no class folder, the f"):
        scan_clips(tmp_path, split="merge")


def test_class_folders_beside_a_split_folder_raise(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/1.mp4", "push up/2.mp4", "test/squat/3.mp4", "test/push up/4.mp4")
    with pytest.raises(DataError, match=r"^'test' in '.*' looks like a split folder, and 'push up' beside it like a"):
        scan_clips(tmp_path)


def test_split_folders_one_folder_deeper_are_named(tmp_path: Path) -> None:
    make_split_folders(tmp_path / "archive", train=1, test=1)
    with pytest.raises(DataError, match=r"did you mean '.*/archive'\? 2 split folders there \(test, train\)"):
        scan_clips(tmp_path)


def test_same_folders_in_all_classes_are_noted(tmp_path: Path) -> None:
    make_files(tmp_path, *(f"{who}/{what}/1.mp4" for who in ("anna", "ben") for what in ("dip", "push up", "squat")))
    scan = scan_clips(tmp_path)
    assert {clip.label for clip in scan.clips} == {"anna", "ben"}
    assert scan.notes == (
        "the classes are the folders at the top (anna, ben), not those below them (dip, push up, squat); list the "
        "classes with --labels FILE if it is the other way round",
    )
    make_files(tmp_path, "ben/row/1.mp4")
    assert scan_clips(tmp_path).notes == ()


def test_class_may_be_called_test(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/anna/1.mp4", "squat/ben/2.mp4", "test/3.mp4")
    assert [clip.label for clip in scan_clips(tmp_path).clips] == ["squat", "squat", "test"]
