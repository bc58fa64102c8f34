"""What a command writes replaces nothing but its own earlier output."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from data.__main__ import main
from data.errors import DataError
from data.outputs import OutputFile, check_output_folder, check_outputs

HEAD = re.compile(rb"\Aclip,label\n")


def table(path: Path) -> OutputFile:
    return OutputFile(path, "a table", HEAD)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two classes, a file of groups, a run, and a note of the user's; the current directory."""
    lines = ["path,group"]
    for number in range(8):
        path = f"{'squat' if number % 2 else 'push up'}/{number}.mp4"
        (tmp_path / "clips" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / path).write_bytes(bytes([number]))
        lines.append(f"{path},{number}")
    (tmp_path / "groups.csv").write_text("\n".join(lines))
    for name in ("config.yaml", "split.csv", "mlflow.json"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("clip,label\n")
    (tmp_path / "notes.csv").write_text("my notes")
    (tmp_path / "link.csv").symlink_to("clips/squat/1.mp4")
    (tmp_path / "dangling.csv").symlink_to("nowhere.csv")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clips/squat/1.mp4", "'clips/squat/1.mp4' has the name of a video; give another name for a table"),
        ("new.MOV", "'new.MOV' has the name of a video"),
        ("link.csv", "'link.csv' is also an input of this command"),
        ("groups.csv", "'groups.csv' is also an input of this command"),
        ("./clips/../groups.csv", "is also an input of this command"),
        ("clips", "'clips' is a folder; give the name of a file for a table"),
        ("pipe", "'pipe' is a pipe or a device"),
        ("dangling.csv", "'dangling.csv' is a link; give the name of a file for a table"),
        ("/dev/stdout", "'/dev/stdout' is a link"),
        ("/dev/null", "'/dev/null' is a pipe or a device"),
        ("run/split.csv", "'run/split.csv' belongs to a run"),
        ("notes.csv", "'notes.csv' exists and is not a table; give another name, or remove it"),
        ("notes.csv/below.csv", "can't write 'notes.csv/below.csv': '"),
        ("x" * 300, "File name too long; give another name"),
    ],
)
def test_output_over_something_else_raises(place: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        check_outputs([table(Path(name))], ["groups.csv", "clips/squat/1.mp4", None, "no such file"])


def test_new_file_earlier_output_and_empty_file_are_accepted(place: Path) -> None:
    (place / "earlier.csv").write_text("clip,label\na.mp4,squat\n")
    (place / "empty.csv").touch()
    for name in ("earlier.csv", "empty.csv", "new.csv", "new folder/new.csv", "run/new.csv", "none.csv"):
        check_outputs([table(place / name)], [place / "none.csv"])


def test_settings_and_split_of_the_users_own_are_no_run(place: Path) -> None:
    (place / "config.yaml").touch()
    (place / "split.csv").write_text("clip,label\n")
    check_outputs([table(Path("split.csv"))])


def test_file_that_users_edit_is_never_replaced(place: Path) -> None:
    with pytest.raises(DataError, match="'notes.csv' exists: give another name, or remove it"):
        check_outputs([OutputFile(Path("notes.csv"), "a groups file")])


def test_two_outputs_with_one_path_raise(place: Path) -> None:
    with pytest.raises(DataError, match="two outputs have the path 'clips/../a.csv'"):
        check_outputs([table(Path("a.csv")), table(Path("clips/../a.csv"))])


def test_folder_that_is_a_file_or_a_run_raises(place: Path) -> None:
    for name in ("notes.csv", "notes.csv/below"):
        with pytest.raises(DataError, match=f"can't write to '{name}'; give another folder"):
            check_output_folder(Path(name), [])
    with pytest.raises(DataError, match="'run' is the folder of a run"):
        check_output_folder(Path("run"), [table(Path("run/new.csv"))])
    check_output_folder(Path("run/new folder"), [table(Path("run/new folder/new.csv"))])


@pytest.mark.parametrize(
    "command",
    [
        ["split", "clips", "--out", "clips/squat/1.mp4"],
        ["split", "clips", "--out", "groups.csv", "--groups", "groups.csv:group"],
        ["split", "clips", "--out", "notes.csv"],
        ["split", "clips", "--out", "run/split.csv"],
        ["split", "clips", "--out", "pipe"],
        ["groups", "clips", "--out", "clips/squat/1.mp4"],
        ["groups", "clips", "--out", "new.csv", "--sheets", "clips/squat/1.mp4"],
        ["groups", "clips", "--out", "new.csv", "--sheets", "new.csv"],
        ["groups", "clips", "--out", "new.csv", "--sheets", "groups.csv", "--check", "groups.csv"],
        ["audit", "clips", "--out", "clips/squat/1.mp4"],
        ["audit", "clips", "--out", "run"],
        ["demo", "--out", "clips"],
        ["demo", "--out", "notes.csv"],
        ["demo", "--out", "run"],
    ],
)
def test_commands_refuse_before_any_work(place: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert main(command) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: '") or output.err.startswith(("error: can't write", "error: two outputs"))
    assert output.err.count("\n") == 1
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_audit_refuses_a_folder_with_another_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine").mkdir()
    (place / "mine/audit.csv").write_text("the accounts of 2020")
    assert main(["audit", "clips", "--out", "mine"]) == 2
    assert "'mine/audit.csv' exists and is not the table of an audit" in capsys.readouterr().err


def test_split_may_be_made_again_but_a_table_with_more_columns_stays(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["split", "clips", "--out", "split.csv"]) == 0
    (place / "mine.csv").write_text("path,label,group,split,remark\n")
    assert main(["split", "clips", "--out", "mine.csv"]) == 2
    assert "'mine.csv' exists and is not a split file" in capsys.readouterr().err
