"""Files of groups, splits and earlier groups, broken in many ways, for every command that reads one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_inputs.commands import Console
from tests.bad_inputs.tables import RIGHT, SPECIAL, WRONG, Change, special_files

Command = Callable[[str], list[object]]
"""Takes the path of a table and returns the words of a command that reads it."""

NO_WEIGHTS = "models.resnet18.weights=nowhere.pt"
"""With this setting a sweep ends after it has accepted the clips and before it starts Ray."""


def sweep(clips: Path, *words: object) -> list[object]:
    return ["tuning", "sweep", "--config", "small.yaml", "--data", clips, "--name", "new", NO_WEIGHTS, *words]


@pytest.fixture
def readers(clips: Path, store: tuple[str, ...]) -> dict[str, Command]:
    """The commands that read a table."""
    return {
        "split": lambda table: ["data", "split", clips, "--out", "new.csv", "--groups", table],
        "audit": lambda table: ["data", "audit", clips, "--out", "new", "--groups", table, *store],
        "groups": lambda table: ["data", "groups", clips, "--out", "new.csv", "--check", table, *store],
        "sweep": lambda table: sweep(clips, "--groups", table),
        "sweep --split": lambda table: sweep(clips, "--split", table),
    }


READERS = ("split", "audit", "groups", "sweep")
"""Those that read groups."""


@pytest.fixture
def groups_text(clips: Path) -> str:
    paths = sorted(file.relative_to(clips).as_posix() for file in clips.rglob("*.mp4"))
    return "path,group\n" + "".join(f"{path},{number}\n" for number, path in enumerate(paths))


@pytest.fixture
def split_text(clips: Path) -> str:
    lines = ["path,label,group,split"]
    for name in ("pull Up", "squat"):
        files = sorted((clips / name).iterdir())
        for file, part in zip(files, ("train", "train", "val", "test"), strict=True):
            lines.append(f"{name}/{file.name},{name},{file.name},{part}")
    return "\n".join(lines) + "\n"


def write(text: str, change: Change, file: str = "table.csv") -> str:
    changed = change(text)
    Path(file).write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    return file


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        *((name, reader) for name in RIGHT for reader in ("split", "sweep")),
        ("as it is", "audit"),
        ("as it is", "groups"),
    ],
)
def test_right_groups_are_accepted(
    console: Console, readers: dict[str, Command], groups_text: str, name: str, reader: str
) -> None:
    words = readers[reader](write(groups_text, RIGHT[name]))
    if reader == "sweep":
        console.refuses("nowhere.pt", *words)
    else:
        console.accepts(*words)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_groups_are_refused(
    console: Console, readers: dict[str, Command], groups_text: str, name: str, reader: str
) -> None:
    change, message = WRONG[name]
    console.refuses(message, *readers[reader](write(groups_text, change)))


@pytest.mark.parametrize("reader", [*READERS, "sweep --split"])
@pytest.mark.parametrize("name", SPECIAL)
def test_table_that_is_no_file_is_refused(
    console: Console, readers: dict[str, Command], place: Path, name: str, reader: str
) -> None:
    table = special_files(place)[name]
    console.refuses("", *readers[reader](table))


@pytest.mark.parametrize("name", RIGHT)
def test_right_split_is_accepted(console: Console, clips: Path, split_text: str, name: str) -> None:
    console.refuses("nowhere.pt", *sweep(clips, "--split", write(split_text, RIGHT[name])))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_split_is_refused(console: Console, clips: Path, split_text: str, name: str) -> None:
    change, message = WRONG[name]
    console.refuses(message, *sweep(clips, "--split", write(split_text, change)))


ROWS: dict[str, tuple[Change, str]] = {
    "header only": (lambda text: text.partition("\n")[0] + "\n", ""),
    "no such part": (lambda text: text.replace(",test", ",tset", 1), "the split is 'tset'"),
    "no test": (lambda text: text.replace(",test", ",val"), "test"),
    "no val": (lambda text: text.replace(",val", ",train"), "val"),
    "no train": (lambda text: text.replace(",train", ",val"), ""),
    "one class": (lambda text: "".join(line for line in text.splitlines(True) if "squat" not in line), ""),
    "a clip twice": (lambda text: text + text.splitlines()[-1] + "\n", "listed twice"),
    "a group in two parts": (lambda text: text.replace("5.mp4,val", "1.mp4,val"), "group"),
    "folds beside val": (lambda text: text.replace(",train", ",fold-1"), ""),
    "folds from 2": (lambda text: text.replace(",train", ",fold-2", 1).replace(",val", ",fold-3"), ""),
    "a missing clip": (lambda text: text + "squat/none.mp4,squat,none,train\n", "'squat/none.mp4'"),
    "another class": (lambda text: text.replace("/1.mp4,squat", "/1.mp4,dip"), ""),
    "an absolute path": (lambda text: text.replace("squat/1.mp4", "/squat/1.mp4", 1), "outside the data folder"),
    "a path upwards": (lambda text: text.replace("squat/1.mp4", "../squat/1.mp4", 1), "outside the data folder"),
}


@pytest.mark.parametrize("name", ROWS)
def test_split_with_wrong_rows_is_refused(console: Console, clips: Path, split_text: str, name: str) -> None:
    change, message = ROWS[name]
    console.refuses(message, *sweep(clips, "--split", write(split_text, change)))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.partition("\n")[0] + "\n", "8 of 8 clips have no group"),
        (lambda text: text.replace("squat/1.mp4", "squat/none.mp4"), "1 of 8 clips have no group"),
        (lambda text: text + "squat/1.mp4,another\n", "has the group"),
    ],
    ids=["header only", "a clip without a group", "two groups for a clip"],
)
def test_groups_that_do_not_fit_the_clips_are_refused(
    console: Console, readers: dict[str, Command], groups_text: str, reader: str, change: Change, message: str
) -> None:
    if reader == "groups" and "no group" in message:
        # Clips without a true group do not count.
        words = readers[reader](write(groups_text, change))
        console.accepts(*words) if "1 of 8" in message else console.refuses("no path in", *words)
        return
    console.refuses(message, *readers[reader](write(groups_text, change)))


@pytest.mark.parametrize("name", ["semicolons", "random bytes", "spaces"])
def test_split_does_not_replace_a_file_that_is_no_split(
    console: Console, clips: Path, groups_text: str, name: str
) -> None:
    table = write(groups_text, WRONG[name][0])
    console.refuses("exists and is not a split", "data", "split", clips, "--out", table)
