"""Folders of runs that hold no run, other things, or databases that are none."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_inputs.commands import Console
from tests.bad_inputs.test_options import run_words


def database(name: str, *statements: str) -> None:
    with sqlite3.connect(name) as connection:
        for statement in statements:
            connection.execute(statement)


RUNS: dict[str, Callable[[], object]] = {
    "missing": lambda: None,
    "empty": lambda: Path("runs").mkdir(),
    "a file": lambda: Path("runs").touch(),
    "a FIFO": lambda: os.mkfifo("runs"),
    "a dangling link": lambda: Path("runs").symlink_to("nowhere"),
    "a link to itself": lambda: Path("runs").symlink_to("runs"),
    "other folders": lambda: (Path("runs/notes").mkdir(parents=True), Path("runs/notes/day.txt").touch()),
    "a file with the name of a run": lambda: (Path("runs").mkdir(), Path("runs/a").touch()),
    "a folder without settings": lambda: Path("runs/a").mkdir(parents=True),
    "settings that are a folder": lambda: Path("runs/a/config.yaml").mkdir(parents=True),
    "a hidden run": lambda: (Path("runs/.a").mkdir(parents=True), Path("runs/.a/config.yaml").write_text("name: a")),
}
"""Folders without a run."""

DATABASES: dict[str, Callable[[], object]] = {
    "an empty database": lambda: Path("runs/mlflow.db").touch(),
    "a text as database": lambda: Path("runs/mlflow.db").write_text("no database"),
    "a folder as database": lambda: Path("runs/mlflow.db").mkdir(),
    "a FIFO as database": lambda: os.mkfifo("runs/mlflow.db"),
    "a dangling link as database": lambda: Path("runs/mlflow.db").symlink_to("nowhere.db"),
    "a database of something else": lambda: database("runs/mlflow.db", "create table notes (day text)"),
    "a cut database": lambda: Path("runs/mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(50)),
}


@pytest.mark.parametrize("run", ["a", "latest", "runs/a", "runs/latest"])
@pytest.mark.parametrize("command", ["evaluate", "report", "export", "predict", "app", "resume"])
@pytest.mark.parametrize("name", RUNS)
def test_run_is_not_found(console: Console, name: str, command: str, run: str) -> None:
    RUNS[name]()
    console.refuses("", *run_words(command, run))


@pytest.mark.parametrize("command", ["ui", "relocate"])
@pytest.mark.parametrize("name", RUNS)
def test_folder_without_runs(console: Console, name: str, command: str) -> None:
    """`ui` refuses it; `relocate` may have nothing to do."""
    RUNS[name]()
    ended = console.run("tuning", command, "--runs", "runs", *(["--port=99999"] if command == "ui" else []))
    assert ended.code == 2 or (command == "relocate" and ended.code == 0)
    assert len(ended.errors) == (ended.code == 2)
    assert ended.changed == []


@pytest.mark.parametrize("command", ["ui", "relocate"])
@pytest.mark.parametrize("name", DATABASES)
def test_folder_with_a_damaged_database(console: Console, name: str, command: str) -> None:
    Path("runs").mkdir()
    DATABASES[name]()
    ended = console.run("tuning", command, "--runs", "runs", *(["--port=99999"] if command == "ui" else []))
    assert ended.code == 2 or (command == "relocate" and ended.code == 0)
    assert len(ended.errors) == (ended.code == 2), ended.err
    assert ended.changed == []


@pytest.mark.parametrize("name", [name for name in DATABASES if name != "an empty database"])
def test_sweep_refuses_a_damaged_database_beforehand(console: Console, clips: Path, name: str) -> None:
    Path("runs").mkdir()
    DATABASES[name]()
    console.refuses("", "tuning", "sweep", "--config", "small.yaml", "--data", clips, "models.resnet18.weights=n.pt")


@pytest.mark.parametrize("file", ["a b.yaml", "#1.yaml", "100%.yaml", "-x.yaml", "ä.yaml", "a.b.yaml", ".hidden.yaml"])
def test_settings_with_an_odd_file_name_are_read(console: Console, clips: Path, file: str) -> None:
    Path("small.yaml").rename(file)
    words = ["tuning", "sweep", f"--config={file}", "--data", clips, "models.resnet18.weights=nowhere.pt"]
    console.refuses("nowhere.pt", *words)
