"""Folders that are laid out in another way than one folder per class, for every command that reads a folder."""

from __future__ import annotations

import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data.dataset.splits import read_split
from tests.bad_inputs.commands import Console
from tests.bad_inputs.test_folders import READERS, words
from tests.bad_inputs.test_tables import sweep
from tests.helpers.clip_folders import make_files

Make = Callable[[Path], object]
"""Fills an empty folder with empty files: these layouts are refused before a clip is decoded."""


def splits(*names: str) -> Make:
    """Return a function that creates folders of splits, each with three clips of two classes."""
    return lambda root: make_files(
        root, *(f"{part}/{label}/{part} {n}.mp4" for part in names for label in ("squat", "push up") for n in range(3))
    )


def classes(*names: str) -> Make:
    """Return a function that creates classes of three clips."""
    return lambda root: make_files(root, *(f"{name}/{number}.mp4" for name in names for number in range(3)))


def zipped(root: Path) -> None:
    with zipfile.ZipFile(root / "clips.zip", "w") as archive:
        archive.writestr("squat/1.mp4", b"")


BOTH_WAYS = "--split folders to use these splits, or --split merge"
ALIKE = "look alike"
LAYOUTS: dict[str, tuple[Make, str]] = {
    "train, val and test": (splits("train", "val", "test"), BOTH_WAYS),
    "train and test": (splits("train", "test"), "--split merge"),
    "train and validation": (splits("train", "validation"), "--split merge"),
    "capitals": (splits("Train", "Valid", "Test"), BOTH_WAYS),
    "plurals": (splits("trains", "vals", "tests"), BOTH_WAYS),
    "one folder too deep": (lambda root: classes("squat", "dip")(root / "archive"), "did you mean"),
    "two folders too deep": (lambda root: classes("squat", "dip")(root / "archive/clips"), "did you mean"),
    "splits one folder too deep": (lambda root: splits("train", "val", "test")(root / "data"), ""),
    "pictures": (
        lambda root: make_files(root, *(f"{name}/{n}.jpg" for name in ("squat", "dip") for n in range(5))),
        "10 .jpg found",
    ),
    "a zip": (zipped, "unzip"),
    "loose clips": (lambda root: make_files(root, *(f"squat_{number}.mp4" for number in range(6))), ""),
    "loose clips beside one class": (lambda root: (classes("squat")(root), make_files(root, "1.mp4")), ""),
    "decomposed letters": (
        classes(*(unicodedata.normalize(form, "Liegestütz") for form in ("NFC", "NFD"))),
        ALIKE,
    ),
    "capital letters": (classes("push up", "Push Up", "squat"), ALIKE),
    "underscores": (classes("push_up", "push-up", "squat"), ALIKE),
    "spaces": (classes("push up", "push  up", "squat"), ALIKE),
    "a space at the end": (classes("squat", "squat ", "dip"), ALIKE),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_refused(console: Console, store: tuple[str, ...], name: str, reader: str) -> None:
    make, message = LAYOUTS[name]
    Path("bad").mkdir()
    make(Path("bad"))
    console.refuses(message, *words(reader, "bad", store))


@pytest.mark.parametrize("how", ["folders", "merge"])
@pytest.mark.parametrize("name", ["train, val and test", "capitals", "plurals"])
def test_split_folders_are_used_as_asked(console: Console, name: str, how: str) -> None:
    LAYOUTS[name][0](Path("clips"))
    console.accepts("data", "split", "clips", "--out", "new.csv", "--split", how)
    split = read_split(Path("new.csv"))
    assert split.classes == ("push up", "squat")
    assert len(split.rows) == 18
    kept = [row for row in split.rows if Path(row.clip.path).name.lower().startswith(row.split)]
    assert len(kept) == 18 or how == "merge"
    console.refuses("nowhere.pt", *sweep(Path("clips"), "--split", how))


@pytest.mark.parametrize("name", ["capital letters", "underscores", "spaces", "decomposed letters"])
def test_classes_that_look_alike_are_merged_as_asked(console: Console, name: str) -> None:
    LAYOUTS[name][0](Path("clips"))
    make_files(Path("clips"), *(f"dip/{number}.mp4" for number in range(3)))
    console.accepts("data", "split", "clips", "--out", "new.csv", "--merge-classes")
    split = read_split(Path("new.csv"))
    assert len(split.classes) == len({path.name for path in Path("clips").iterdir()}) - 1
    console.refuses("nowhere.pt", *sweep(Path("clips"), "--merge-classes"))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("option", ["--split=folders", "--split=merge", "--merge-classes"])
def test_option_without_effect_on_plain_folders(
    console: Console, clips: Path, store: tuple[str, ...], reader: str, option: str
) -> None:
    """It is refused, or it changes nothing."""
    ended = console.run(*words(reader, clips, store), option)
    if ended.code == 0:
        return
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert ended.changed == []


def test_folder_in_which_splits_stand_beside_classes_is_refused(console: Console, clips: Path) -> None:
    shutil.copytree(clips, "mixed")
    splits("train", "test")(Path("mixed"))
    console.refuses("", "data", "split", "mixed", "--out", "new.csv")
