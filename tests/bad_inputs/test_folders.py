"""Folders that hold no classes, one class, or other things than clips, for every command that reads a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_inputs.commands import Console
from tests.bad_inputs.test_tables import sweep

Make = Callable[[Path, Path], None]
"""Takes the folder to fill, which exists and is empty, and a folder of good clips."""


def link_to_itself(folder: Path, clips: Path) -> None:
    (folder / "squat").symlink_to("squat")
    (folder / "dip").symlink_to("dip")


def links_upwards(folder: Path, clips: Path) -> None:
    for name in ("squat", "dip"):
        (folder / name).mkdir()
        (folder / name / "up").symlink_to("..")


def folders_with_video_names(folder: Path, clips: Path) -> None:
    for name in ("squat", "dip"):
        (folder / name / "1.mp4").mkdir(parents=True)


def fifos_with_video_names(folder: Path, clips: Path) -> None:
    for name in ("squat", "dip"):
        (folder / name).mkdir()
        os.mkfifo(folder / name / "1.mp4")


def dangling_clips(folder: Path, clips: Path) -> None:
    for name in ("squat", "dip"):
        (folder / name).mkdir()
        (folder / name / "1.mp4").symlink_to("nowhere.mp4")


def texts(folder: Path, clips: Path) -> None:
    for name in ("squat", "dip"):
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("three sets of ten\n")


def hidden(folder: Path, clips: Path) -> None:
    for name in (".squat", ".dip"):
        shutil.copytree(clips / "squat", folder / name)


def hidden_clips(folder: Path, clips: Path) -> None:
    for name in ("squat", "dip"):
        (folder / name).mkdir()
        shutil.copy(clips / "squat/1.mp4", folder / name / ".1.mp4")


def one_class(folder: Path, clips: Path) -> None:
    shutil.copytree(clips / "squat", folder / "squat")


def one_class_and_an_empty_one(folder: Path, clips: Path) -> None:
    one_class(folder, clips)
    (folder / "dip").mkdir()


EMPTY = "no clips in"
FOLDERS: dict[str, tuple[Make, str]] = {
    "empty": (lambda folder, clips: None, EMPTY),
    "links to themselves": (link_to_itself, EMPTY),
    "links upwards": (links_upwards, EMPTY),
    "folders with video names": (folders_with_video_names, EMPTY),
    "FIFOs with video names": (fifos_with_video_names, EMPTY),
    "dangling clips": (dangling_clips, EMPTY),
    "texts": (texts, EMPTY),
    "hidden classes": (hidden, EMPTY),
    "hidden clips": (hidden_clips, EMPTY),
    "one class": (one_class, "only one class"),
    "one class and an empty one": (one_class_and_an_empty_one, "only one class"),
}

NAMES: dict[str, tuple[bytes, str]] = {
    "a line break in a class": (b"push\nup/1.mp4", "line break"),
    "a tab in a class": (b"push\tup/1.mp4", "control character"),
    "an escape in a clip": (b"dip/\x1b[31m.mp4", "control character"),
    "a carriage return in a clip": (b"dip/1\r.mp4", "line break"),
    "not UTF-8 in a class": (b"Liegest\xfctz/1.mp4", "not UTF-8"),
    "not UTF-8 in a clip": (b"dip/\xff\xfe.mp4", "not UTF-8"),
    "a line separator in a clip": ("dip/a\u2028b.mp4".encode(), "line break"),
    "a line break in a sub-folder": (b"dip/day\n1/1.mp4", "line break"),
}
"""Bytes of a path below the folder, and a part of the message."""

PLACES = {
    "missing": ("none", "no such folder"),
    "below a missing folder": ("none/none", "no such folder"),
    "a file": ("small.yaml", "is not a folder"),
    "below a file": ("small.yaml/clips", "no such folder"),
    "a device": ("/dev/null", "is not a folder"),
    "a name that is too long": ("x" * 300, "File name too long; give a shorter path"),
    "a path that is too long": ("x/" * 2500, "File name too long; give a shorter path"),
}

READERS = ("split", "audit", "groups", "sweep")


def words(reader: str, folder: Path | str, store: tuple[str, ...]) -> list[object]:
    """Return the words of a command that reads a folder."""
    if reader == "sweep":
        return sweep(Path(folder))
    out = "new" if reader == "audit" else "new.csv"
    return ["data", reader, folder, "--out", out, *(store if reader != "split" else ())]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", FOLDERS)
def test_folder_without_classes_is_refused(
    console: Console, clips: Path, store: tuple[str, ...], name: str, reader: str
) -> None:
    make, message = FOLDERS[name]
    Path("bad").mkdir()
    make(Path("bad"), clips)
    console.refuses(message, *words(reader, "bad", store))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", PLACES)
def test_place_that_is_no_folder_is_refused(console: Console, store: tuple[str, ...], name: str, reader: str) -> None:
    folder, message = PLACES[name]
    console.refuses(message, *words(reader, folder, store))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES)
def test_name_that_can_not_be_printed_is_refused(
    console: Console, clips: Path, store: tuple[str, ...], name: str, reader: str
) -> None:
    path, message = NAMES[name]
    shutil.copytree(clips, "bad")
    file = os.fsencode("bad") + b"/" + path
    os.makedirs(os.path.dirname(file), exist_ok=True)
    shutil.copy(clips / "squat/1.mp4", file)
    console.refuses(message, *words(reader, "bad", store))


ODD_NAMES = (
    *(
        "squat 100%",
        "it's",
        'the "best"',
        "a,b",
        "a;b",
        "a&b",
        "a#b",
        "a?b",
        "a=b",
        "a:b",
        "[a]",
        "{a}",
        "*",
        "~",
        "$HOME",
    ),
    *(
        "-rf",
        "--help",
        "(1)",
        "a\\b",
        "NA",
        "null",
        "true",
        "1e5",
        "0",
        "ß",
        "дом",
        "腕立て伏せ",
        "🏋",
        "e\u0301te\u0301",
    ),
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_class_with_an_odd_name_is_accepted(console: Console, clips: Path, name: str) -> None:
    for other in ("one", name):
        shutil.copytree(clips / "squat", f"odd/{other}")
    for number, file in enumerate(sorted(Path("odd").rglob("*.mp4"))):
        file.write_bytes(file.read_bytes() + bytes([number]))
    out = console.accepts("data", "split", "odd", "--out", "new.csv")
    assert out.changed == [str(Path("new.csv").absolute())] or out.changed == [f"{Path.cwd()}/new.csv"]
    from data.dataset.splits import read_split

    split = read_split(Path("new.csv"))
    assert set(split.classes) == {"one", name}
    assert {row.clip.path for row in split.rows if row.clip.label == name} == {
        f"{name}/{number}.mp4" for number in (1, 3, 5, 7)
    }
    console.refuses("nowhere.pt", *sweep(Path("odd"), "--split", "new.csv"))
