"""Label files that are broken, for every command that reads one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data.dataset.splits import read_split
from tests.bad_inputs.commands import Console
from tests.bad_inputs.tables import SPECIAL, special_files
from tests.bad_inputs.test_folders import READERS, words
from tests.bad_inputs.test_tables import sweep
from tests.helpers.clip_folders import make_files

Change = Callable[[str], str | bytes]

CSV = "path,label\n" + "".join(f"{number}.mp4,{('dip', 'squat')[number % 2]}\n" for number in range(8))
LIST = "".join(f"{number}.mp4 {('dip', 'squat')[number % 2]}\n" for number in range(8))

RIGHT: dict[str, str | bytes] = {
    "CSV": CSV,
    "CSV with a mark": CSV.encode("utf-8-sig"),
    "CSV of Windows": CSV.replace("\n", "\r\n"),
    "list": LIST,
    "list of Windows": LIST.replace("\n", "\r\n"),
    "list with ./": "".join(f"./{line}\n" for line in LIST.splitlines()),
    "list with the folder's name": "".join(f"flat/{line}\n" for line in LIST.splitlines()),
    "CSV with another column": "\n".join(f"{line},{number}" for number, line in enumerate(CSV.splitlines())),
}

WRONG: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", ""),
    "spaces": ("   \n \n", ""),
    "header only": ("path,label\n", ""),
    "UTF-16": (CSV.encode("utf-16"), ""),
    "Latin-1": (CSV.replace("dip", "Kniebeuge à").encode("latin-1"), "UTF-8"),
    "random bytes": (bytes(range(256)) * 4, ""),
    "one class": (CSV.replace("squat", "dip"), ""),
    "no column label": (CSV.replace("label", "text", 1), ""),
    "an empty label": (CSV.replace("3.mp4,squat", "3.mp4,"), ""),
    "two labels": (CSV + "3.mp4,dip\n", "3.mp4"),
    "other clips": (CSV.replace(".mp4", ".avi"), ""),
    "an open quote": (CSV + '"9.mp4', ""),
    "a control character": (CSV.replace("3.mp4,squat", "3.mp4,squ\x07at"), ""),
    "labels that look alike": (CSV.replace("3.mp4,squat", "3.mp4,Squat"), "look alike"),
    "JSON": ('{"0.mp4": "dip"}', ""),
    "list with one column": ("".join(f"{number}.mp4\n" for number in range(8)), ""),
    "list with a broken line": (LIST + "9.mp4\n", ""),
}


@pytest.fixture
def flat(place: Path) -> Path:
    """A folder of clips without sub-folders."""
    make_files(place / "flat", *(f"{number}.mp4" for number in range(8)))
    for file in (place / "flat").iterdir():
        file.write_bytes(file.name.encode())
    return Path("flat")


def write(content: str | bytes, name: str = "labels") -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


@pytest.mark.parametrize("name", RIGHT)
def test_right_labels_are_used(console: Console, flat: Path, name: str) -> None:
    file = write(RIGHT[name], "labels.csv" if name.startswith("CSV") else "labels.txt")
    console.accepts("data", "split", flat, "--out", "new.csv", "--labels", file)
    labels = {row.clip.path: row.clip.label for row in read_split(Path("new.csv")).rows}
    assert labels == {f"{number}.mp4": ("dip", "squat")[number % 2] for number in range(8)}
    console.refuses("nowhere.pt", *sweep(flat, "--labels", file))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_are_refused(console: Console, flat: Path, store: tuple[str, ...], name: str, reader: str) -> None:
    content, message = WRONG[name]
    file = write(content, "labels.txt" if name.startswith("list") else "labels.csv")
    console.refuses(message, *words(reader, flat, store), "--labels", file)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", SPECIAL)
def test_labels_that_are_no_file_are_refused(
    console: Console, flat: Path, store: tuple[str, ...], place: Path, name: str, reader: str
) -> None:
    console.refuses("", *words(reader, flat, store), "--labels", special_files(place)[name])
