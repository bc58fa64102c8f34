"""The commands of `python -m data` on folders that others lay out in their own ways."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from data.__main__ import main
from data.dataset.splits import read_split
from tests.helpers.clip_folders import make_files, make_split_folders


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_split_folders(tmp_path / "clips", train=6, val=3, test=2)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Check that the command fails with one line and writes nothing; return the line."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return error


@pytest.mark.parametrize("command", [("split", "--out", "s.csv"), ("audit",), ("groups", "--out", "g.csv")])
def test_split_folders_are_refused_by_every_command(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert "--split folders to use these splits, or --split merge to" in refused(capsys, *command, "clips")


def test_split_folders_become_the_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", "clips", "--split", "folders", "--out", "s.csv"]) == 0
    split = read_split(Path("s.csv"))
    assert split.classes == ("push up", "squat")
    assert {row.split for row in split.rows if row.clip.path.split("/")[0] != row.split} == set()
    assert "note: no groups are given" in capsys.readouterr().out


def test_split_folders_are_merged_into_a_new_split(folder: Path) -> None:
    assert main(["split", "clips", "--split", "merge", "--out", "s.csv", "--test", "0.5"]) == 0
    split = read_split(Path("s.csv"))
    assert split.classes == ("push up", "squat")
    assert Counter(row.split for row in split.rows)["test"] == 10


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--val", "0.2", "--seed", "1"], "--seed, --val"),
        (["--test", "0.2"], "--test"),
        (["--folds", "3"], "--folds"),
        (["--few-groups", "train"], "--few-groups"),
    ],
)
def test_settings_of_a_new_split_are_refused_with_split_folders(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    error = refused(capsys, "split", "clips", "--split", "folders", "--out", "s.csv", *options)
    assert error.startswith(f"error: {named} has no effect on the split that the clips come with")


def test_identical_files_in_two_split_folders_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("train/squat/train 0.mp4", "test/squat/test 1.mp4"):
        (folder / path).write_bytes(b"the same")
    error = refused(capsys, "split", "clips", "--split", "folders", "--out", "s.csv")
    assert "1 sets of identical files are in two splits, the first is 'test/squat/test 1.mp4' = 'train/sq" in error


def test_groups_match_in_spite_of_their_spelling(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4"))
    rows = [f"{('./', 'clips/', '')[number % 3]}{path},{path}" for number, path in enumerate(paths)]
    Path("g.csv").write_text("path,group\n" + "\n".join(row.replace("/", "\\") for row in rows))
    assert main(["split", "clips", "--split", "merge", "--groups", "g.csv", "--out", "s.csv"]) == 0
    assert "not clips of the folder" not in capsys.readouterr().out


def test_labels_of_a_flat_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path / "flat", *(f"{number}.mp4" for number in range(12)))
    lines = [f"flat/{number}.mp4 {number % 2 + 1}" for number in range(12)]
    Path("list.txt").write_text("\n".join(lines))
    Path("classInd.txt").write_text("1 dip\n2 push up\n")
    assert main(["split", "flat", "--labels", "list.txt", "--out", "s.csv"]) == 0
    split = read_split(Path("s.csv"))
    assert split.classes == ("dip", "push up")
    assert {row.clip.path: row.clip.label for row in split.rows}["10.mp4"] == "dip"


def test_classes_that_look_alike_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path / "clips", *(f"{label}/{n}.mp4" for label in ("push_up", "push up", "dip") for n in range(3)))
    assert "class names look alike: 'push up' and 'push_up'" in refused(capsys, "split", "clips", "--out", "s.csv")
    assert main(["split", "clips", "--out", "s.csv", "--merge-classes"]) == 0
    assert "note: class 'push_up' is taken as 'push up'" in capsys.readouterr().out
    assert read_split(Path("s.csv")).classes == ("dip", "push up")
