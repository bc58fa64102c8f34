"""Outputs that would replace something else or can't be written, for every command that writes a file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_inputs.commands import Console
from tuning.config.run_folder import RunFolder

Writer = Callable[[object], list[object]]
"""Takes the path of an output and returns the words of the command that writes it."""


@pytest.fixture
def run(finished_run: RunFolder, place: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(finished_run.path, place / "runs/mine")))


@pytest.fixture
def inputs(clips: Path, place: Path) -> Path:
    """Copies of the clips, which the commands read and must not replace, and a table of their groups."""
    copies = Path(shutil.copytree(clips, place / "inputs"))
    paths = sorted(file.relative_to(copies).as_posix() for file in copies.rglob("*.mp4"))
    Path("groups.csv").write_text("path,group\n" + "".join(f"{path},{n}\n" for n, path in enumerate(paths)))
    return copies


@pytest.fixture
def writers(run: RunFolder, inputs: Path, store: tuple[str, ...]) -> dict[str, Writer]:
    clip = inputs / "squat/1.mp4"
    predict = ["tuning", "predict", "--run", run.path, clip]
    return {
        "split": lambda out: ["data", "split", inputs, "--groups", "groups.csv", "--out", out],
        "groups": lambda out: ["data", "groups", inputs, "--check", "groups.csv", "--out", out, *store],
        "sheets": lambda out: ["data", "groups", inputs, "--out", "new.csv", "--sheets", out, *store],
        "predict": lambda out: [*predict, "--out", out],
        "plot": lambda out: [*predict, "--plot", out],
    }


PLACES: dict[str, Callable[[Path], object]] = {
    "the clip": lambda place: place / "inputs/squat/1.mp4",
    "the clip, relative": lambda place: "inputs/squat/1.mp4",
    "the clip, roundabout": lambda place: "runs/../inputs/./squat/1.mp4",
    "another clip": lambda place: "inputs/squat/3.mp4",
    "a new name of a clip": lambda place: "inputs/squat/new.mp4",
    "the folder": lambda place: "inputs",
    "a class": lambda place: "inputs/squat",
    "the current folder": lambda place: ".",
    "settings": lambda place: "small.yaml",
    "settings of a run": lambda place: "runs/mine/config.yaml",
    "split of a run": lambda place: "runs/mine/split.csv",
    "weights of a run": lambda place: "runs/mine/best/model.pt",
    "a text": lambda place: "notes.txt",
    "a table of something else": lambda place: "workouts.csv",
    "a page": lambda place: "notes.html",
    "a picture": lambda place: "photo.png",
    "a drawing": lambda place: "photo.svg",
    "a link to a clip": lambda place: "link.csv",
    "a link to itself": lambda place: "loop.csv",
    "a dangling link": lambda place: "dangling.csv",
    "below a link to itself": lambda place: "loop.csv/new.csv",
    "a FIFO": lambda place: "fifo.csv",
    "a device": lambda place: "/dev/null",
    "a full device": lambda place: "/dev/full",
    "below a file": lambda place: "notes.txt/new.csv",
    "below a device": lambda place: "/dev/null/new.csv",
    "a name that is too long": lambda place: f"{'x' * 300}.csv",
}


@pytest.mark.parametrize("writer", ["split", "groups", "sheets", "predict", "plot"])
@pytest.mark.parametrize("name", PLACES)
def test_output_is_refused(console: Console, writers: dict[str, Writer], place: Path, name: str, writer: str) -> None:
    Path("notes.txt").write_text("three sets of ten\n")
    Path("notes.html").write_text("<!doctype html><p>three sets of ten</p>\n")
    Path("workouts.csv").write_text("day,exercise\n1,squat\n")
    Path("photo.png").write_bytes(b"\x89PNG\r\n\x1a\n a photo")
    Path("photo.svg").write_text("<svg></svg>")
    Path("link.csv").symlink_to("inputs/squat/1.mp4")
    Path("loop.csv").symlink_to("loop.csv")
    Path("dangling.csv").symlink_to("nowhere.csv")
    os.mkfifo("fifo.csv")
    console.refuses("", *writers[writer](PLACES[name](place)))


FOLDERS = {
    "a file": "notes.txt",
    "below a file": "notes.txt/new",
    "a device": "/dev/null",
    "below a device": "/dev/null/new",
    "a run": "runs/mine",
    "a name that is too long": "x" * 300,
    "a link to itself": "loop",
    "below a link to itself": "loop/new",
    "a FIFO": "fifo",
}


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("command", ["audit", "export", "demo"])
def test_output_folder_is_refused(
    console: Console, run: RunFolder, inputs: Path, store: tuple[str, ...], name: str, command: str
) -> None:
    Path("notes.txt").write_text("three sets of ten\n")
    Path("loop").symlink_to("loop")
    os.mkfifo("fifo")
    words = {
        "audit": ["data", "audit", inputs, *store],
        "export": ["tuning", "export", "--run", run.path],
        "demo": ["data", "demo", "--classes=2", "--clips-per-class=3"],
    }[command]
    console.refuses("", *words, "--out", FOLDERS[name])


EMPTY = {
    "split": ["data", "split", "", "--out", "new.csv"],
    "split --out": ["data", "split", "inputs", "--out", ""],
    "split --groups": ["data", "split", "inputs", "--out", "new.csv", "--groups", ""],
    "split --groups=": ["data", "split", "inputs", "--out", "new.csv", "--groups="],
    "split --labels": ["data", "split", "inputs", "--out", "new.csv", "--labels", ""],
    "audit": ["data", "audit", ""],
    "audit --store": ["data", "audit", "inputs", "--store", ""],
    "groups --check": ["data", "groups", "inputs", "--out", "new.csv", "--check", ""],
    "demo": ["data", "demo", "--out", ""],
    "fetch": ["models", "fetch", "resnet18", "--weights-dir", ""],
    "sweep --data": ["tuning", "sweep", "--config", "small.yaml", "--data", ""],
    "sweep --groups": ["tuning", "sweep", "--config", "small.yaml", "--data", "inputs", "--groups", ""],
    "sweep --split": ["tuning", "sweep", "--config", "small.yaml", "--data", "inputs", "--split="],
    "sweep --resume": ["tuning", "sweep", "--config", "small.yaml", "--data", "inputs", "--resume", ""],
    "sweep --address": ["tuning", "sweep", "--config", "small.yaml", "--data", "inputs", "--address="],
    "sweep --name": ["tuning", "sweep", "--config", "small.yaml", "--data", "inputs", "--name", ""],
    "predict": ["tuning", "predict", "--run", "runs/mine", ""],
    "predict --run": ["tuning", "predict", "--run", "", "inputs"],
    "predict --out": ["tuning", "predict", "--run", "runs/mine", "inputs", "--out="],
    "evaluate": ["tuning", "evaluate", "--run", ""],
    "evaluate --data": ["tuning", "evaluate", "--run", "runs/mine", "--data="],
    "report": ["tuning", "report", "--run", ""],
    "export": ["tuning", "export", "--run", "runs/mine", "--out", ""],
    "app": ["tuning", "app", "--model", ""],
    "ui": ["tuning", "ui", "--runs", ""],
    "relocate": ["tuning", "relocate", "--runs", ""],
}
"""Arguments from variables of the shell that are not set."""


@pytest.mark.parametrize("name", EMPTY)
def test_empty_argument_is_refused(console: Console, run: RunFolder, inputs: Path, name: str) -> None:
    console.refuses("is empty; is a variable of the shell not set?", *EMPTY[name])
