"""Run folders with missing, cut and foreign files, for every command that reads a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_inputs.commands import Console
from tuning.config.load import save_config
from tuning.config.run_folder import RunFolder

Damage = Callable[[RunFolder], None]


def removed(*names: str) -> Damage:
    def damage(run: RunFolder) -> None:
        for name in names:
            path = run.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def replaced(name: str, content: bytes) -> Damage:
    return lambda run: (run.path / name).write_bytes(content) and None


def cut(name: str, share: float = 0.5) -> Damage:
    def damage(run: RunFolder) -> None:
        content = (run.path / name).read_bytes()
        (run.path / name).write_bytes(content[: int(share * len(content))])

    return damage


def turned_into_a_folder(name: str) -> Damage:
    def damage(run: RunFolder) -> None:
        (run.path / name).unlink()
        (run.path / name).mkdir()

    return damage


def edited(name: str, **values: object) -> Damage:
    def damage(run: RunFolder) -> None:
        content = json.loads((run.path / name).read_text())
        (run.path / name).write_text(json.dumps({**content, **values}))

    return damage


READERS = ("evaluate", "report", "predict", "app", "resume")

SETTINGS: dict[str, Damage] = {
    "missing": removed("config.yaml"),
    "a text": replaced("config.yaml", b"squat"),
    "cut": cut("config.yaml", 0.995),
    "binary": replaced("config.yaml", b"\xff\x00" * 100),
    "a folder": turned_into_a_folder("config.yaml"),
    "unknown setting": lambda run: run.config.write_text(run.config.read_text() + "nothing: 3\n") and None,
    "removed setting": replaced("config.yaml", b"search: {pbt: {interval: 2}}\n"),
}
"""Damage after which no command can read the run."""

CHECKPOINT: dict[str, Damage] = {
    "no champion": removed("best"),
    "no manifest": removed("best/checkpoint.json"),
    "empty manifest": replaced("best/checkpoint.json", b""),
    "cut manifest": cut("best/checkpoint.json"),
    "manifest of another kind": replaced("best/checkpoint.json", b"[1, 2]"),
    "manifest without fields": replaced("best/checkpoint.json", b"{}"),
    "binary manifest": replaced("best/checkpoint.json", b"\xff\xfe\x00" * 30),
    "manifest is a folder": turned_into_a_folder("best/checkpoint.json"),
    "another format": edited("best/checkpoint.json", format=99),
    "another architecture": edited("best/checkpoint.json", trial={"arch": "nothing"}),
    "other classes": edited("best/checkpoint.json", classes=["a", "b"]),
    "no weights": removed("best/model.pt"),
    "empty weights": replaced("best/model.pt", b""),
    "cut weights": cut("best/model.pt"),
    "foreign weights": replaced("best/model.pt", b"PK\x03\x04 no weights"),
    "weights are a folder": turned_into_a_folder("best/model.pt"),
    "cut calibration": cut("best/calibration.json"),
    "binary calibration": replaced("best/calibration.json", b"\xff\xfe\x00" * 30),
    "calibration of another kind": replaced("best/calibration.json", b"[1, 2]"),
    "calibration without numbers": edited("best/calibration.json", temperature="warm"),
    "no temperature": edited("best/calibration.json", temperature=0.0),
    "calibration with NaN": edited("best/calibration.json", threshold=float("nan")),
    "calibration is a folder": turned_into_a_folder("best/calibration.json"),
}
"""Damage after which no command can load the champion."""


@pytest.fixture
def broken(finished_run: RunFolder, place: Path) -> RunFolder:
    """A copy of a finished run, to be damaged."""
    run = RunFolder(Path(shutil.copytree(finished_run.path, place / "runs/broken")))
    config = run.read_config().model_copy(update={"name": "broken", "runs_dir": str(place / "runs")})
    save_config(config, run.config)
    return run


@pytest.fixture
def clip(finished_run: RunFolder) -> Path:
    return finished_run.path.parents[1] / "clips/dip/0.mp4"


def words(command: str, run: RunFolder, clip: Path) -> list[object]:
    """Return the words of a command that reads a run; an intact champion is refused at its port by `app`."""
    if command == "resume":
        return ["tuning", "sweep", "--resume", "broken"]
    more = {"export": ["--out", "exported"], "predict": [clip], "app": ["--port=99999"]}.get(command, [])
    return ["tuning", command, "--run", run.path, *more]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("name", SETTINGS)
def test_run_with_damaged_settings_is_refused(
    console: Console, broken: RunFolder, name: str, command: str, clip: Path
) -> None:
    SETTINGS[name](broken)
    console.refuses("", *words(command, broken, clip))


@pytest.mark.parametrize("command", ["evaluate", "export", "predict", "app"])
@pytest.mark.parametrize("name", CHECKPOINT)
def test_run_with_a_damaged_champion_is_refused(
    console: Console, broken: RunFolder, name: str, command: str, clip: Path
) -> None:
    CHECKPOINT[name](broken)
    console.refuses("", *words(command, broken, clip))


@pytest.mark.parametrize("command", ["predict", "app", "export"])
@pytest.mark.parametrize("name", [name for name in CHECKPOINT if name != "no champion"])
def test_folder_with_a_damaged_champion_is_refused(
    console: Console, broken: RunFolder, name: str, command: str, clip: Path
) -> None:
    if command == "export":
        pytest.importorskip("onnx")
    CHECKPOINT[name](broken)
    best = Path(shutil.copytree(broken.best, "copied"))
    option = ["--run", broken.path, "--out", "exported"] if command == "export" else ["--model", best]
    more = {"predict": [clip], "app": ["--port=99999"]}.get(command, [])
    console.refuses("", "tuning", command, *option, *more)


SPLIT: dict[str, Damage] = {
    "missing": removed("split.csv"),
    "empty": replaced("split.csv", b""),
    "header only": replaced("split.csv", b"path,label,group,split\n"),
    "cut": cut("split.csv"),
    "binary": replaced("split.csv", b"\xff\xfe\x00" * 30),
    "a folder": turned_into_a_folder("split.csv"),
    "of other clips": lambda run: (
        run.split.write_text(run.split.read_text().replace("dip", "row").replace("squat", "press")) and None
    ),
}


@pytest.mark.parametrize("command", ["evaluate", "report", "resume"])
@pytest.mark.parametrize("name", SPLIT)
def test_run_with_a_damaged_split_is_refused(
    console: Console, broken: RunFolder, name: str, command: str, clip: Path
) -> None:
    SPLIT[name](broken)
    console.refuses("", *words(command, broken, clip))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"experiment_id": 3}'])
@pytest.mark.parametrize("command", ["evaluate"])
def test_run_with_a_damaged_mlflow_file_is_refused(
    console: Console, broken: RunFolder, command: str, content: bytes, clip: Path
) -> None:
    broken.tracking.write_bytes(content)
    console.refuses("", *words(command, broken, clip))


@pytest.mark.parametrize("kind", ["a file", "an empty folder", "missing", "a text as database"])
def test_ui_refuses_a_folder_without_runs(console: Console, kind: str) -> None:
    if kind == "a file":
        Path("runs").touch()
    elif kind != "missing":
        Path("runs").mkdir()
        if kind == "a text as database":
            Path("runs/mlflow.db").write_text("no database")
    console.refuses("", "tuning", "ui", "--runs", "runs", "--port=99999")
