from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from data.dataset.clips import scan_clips
from data.errors import DataError
from tests.helpers.clip_folders import make_files


def refused(folder: Path, *parts: str) -> None:
    """Check that the folder is refused, in one line with these parts."""
    with pytest.raises(DataError) as caught:
        scan_clips(folder)
    assert "\n" not in str(caught.value)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_folder_that_is_one_too_high(tmp_path: Path) -> None:
    make_files(tmp_path, "archive/squat/1.mp4", "archive/dip/2.mp4", "archive/push up/3.mp4", "readme.txt")
    refused(tmp_path, f"did you mean '{tmp_path}/archive'? 3 classes there (dip, push up, squat)")


def test_folder_that_is_two_too_high_above_split_folders(tmp_path: Path) -> None:
    make_files(tmp_path, "a/b/train/squat/1.mp4", "a/b/test/squat/2.mp4", "a/b/test/dip/3.mp4")
    refused(tmp_path, f"did you mean '{tmp_path}/a/b'? 2 split folders there (test, train)")


def test_class_folder_with_folders_below_is_valid_beside_another(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/anna/1.mp4", "squat/ben/2.mp4", "dip/3.mp4")
    assert {clip.label for clip in scan_clips(tmp_path).clips} == {"dip", "squat"}


def test_flat_folder(tmp_path: Path) -> None:
    make_files(tmp_path, "squat_1.mp4", "squat_2.mp4", "labels.csv")
    refused(tmp_path, f"2 videos in '{tmp_path}' and no class folders", "'squat_1.mp4'", "--labels FILE")


def test_loose_videos(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/1.mp4", "dip/2.mp4", "3.mp4")
    refused(tmp_path, f"1 video beside the class folders of '{tmp_path}', '3.mp4'; move each into a class folder")


def test_pictures(tmp_path: Path) -> None:
    make_files(tmp_path, *(f"squat/{number}.JPG" for number in range(10)), "dip/1.png")
    refused(tmp_path, "10 .jpg and 1 .png found, but this takes videos", "one sub-folder per class")


def test_folders_without_videos_are_noted(tmp_path: Path) -> None:
    make_files(tmp_path, "squat/1.mp4", "dip/2.mp4", "row/1.jpg", "row/2.jpg", "press/press.zip", "docs/read.me")
    assert scan_clips(tmp_path).notes == (
        "folder 'press' is not a class: 1 .zip found in it, but no videos",
        "folder 'row' is not a class: 2 .jpg found in it, but no videos",
    )


def test_archives(tmp_path: Path) -> None:
    archive = tmp_path / "clips.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("squat/1.mp4", b"")
    refused(archive, f"'{archive}' is an archive; unzip it first")
    archive.rename(tmp_path / "download")
    refused(tmp_path / "download", "is an archive; unzip it first")
    refused(make_files(tmp_path / "folder", "squat/squat.zip", "dip.tar.gz"), "but an archive, ", "unzip it first")


@pytest.mark.skipif(os.name != "posix", reason="other systems have no named pipes")
def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is not a folder; give the folder that has one sub-folder per class")
