"""What commands print does not depend on what other programs, batch systems and containers put into the environment."""

from __future__ import annotations

import asyncio
import pwd
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import data.__main__
import tuning.__main__
from tests.helpers.registered_models import finished_run, register
from tests.helpers.small_models import one_seed_one_thread
from tuning.config.run_folder import RunFolder

__all__ = ["one_seed_one_thread"]

DEAD = "http://127.0.0.1:9"
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

ENVIRONMENTS = {
    "plain": {},
    "no home folder": {"HOME": "/proc"},
    "long temporary folder": {"TMPDIR": "{long}"},
    "no temporary folder there": {"TMPDIR": "/proc/none"},
    "dead proxies": {"http_proxy": DEAD, "https_proxy": DEAD, "all_proxy": DEAD, "no_proxy": ""},
    "SOCKS proxy": {"all_proxy": "socks5://127.0.0.1:9"},
    "MLflow of another program": {
        "MLFLOW_RUN_ID": "0" * 32,
        "MLFLOW_EXPERIMENT_ID": "999",
        "MLFLOW_EXPERIMENT_NAME": "another",
        "MLFLOW_REGISTRY_URI": "sqlite:////nowhere/registry.db",
        "MLFLOW_TRACKING_URI": DEAD,
    },
    "no GPU": {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "0"},
}

COMMANDS = {
    "split": ("data", "split", "{clips}", "--out", "{out}/split.csv"),
    "predict": ("tuning", "predict", "--run", "{run}", "{clip}"),
    "predict to a file": ("tuning", "predict", "--run", "{run}", "{clip}", "--out", "{out}/table.csv", "--format=csv"),
    "evaluate": ("tuning", "evaluate", "--run", "{run}"),
    "report": ("tuning", "report", "--run", "{run}"),
}

SEEN = {
    "split": (2, "error: class 'dip' has 2 clips"),
    "predict": (0, "probability"),
    "predict to a file": (0, ""),
    "evaluate": (0, "test accuracy"),
    "report": (2, "is missing, which holds the trials"),
}
"""Exit code and part of the output."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = finished_run(tmp_path_factory.mktemp("environments"))
    register(run)
    return run


@pytest.fixture(scope="module")
def seen() -> dict[str, str]:
    """What each command has printed in the first environment."""
    return {}


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    for name in (*PROXY_VARIABLES, *map(str.upper, PROXY_VARIABLES), "MLFLOW_TRACKING_URI"):
        # Set first: monkeypatch restores only what it changed.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", None)

    def set_variables(environment: str) -> None:
        for name, value in ENVIRONMENTS[environment].items():
            monkeypatch.setenv(name, value.format(long=tmp_path / ("x" * 100)))
        if "{long}" in ENVIRONMENTS[environment].values():
            (tmp_path / ("x" * 100)).mkdir()

    return set_variables


@pytest.fixture
def execute(run: RunFolder, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str]]:
    """Return a function that runs a command as a notebook's cell does, and returns its exit code and output."""
    clips = run.path.parents[1] / "clips"
    places = {"run": run.path, "clips": clips, "clip": clips / "squat/take 0.mp4", "out": tmp_path}

    async def cell(command: str) -> int:
        program, *arguments = (word.format(**places) for word in COMMANDS[command])
        return {"data": data.__main__.main, "tuning": tuning.__main__.main}[program](arguments)

    def run_cell(command: str) -> tuple[int, str]:
        capfd.readouterr()
        code = asyncio.run(cell(command))
        return code, "".join(capfd.readouterr())

    return run_cell


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_command_does_the_same_in_each_environment(
    command: str,
    environment: str,
    set_environment: Callable[[str], None],
    execute: Callable[[str], tuple[int, str]],
    seen: dict[str, str],
    run: RunFolder,
) -> None:
    set_environment(environment)
    code, output = execute(command)
    assert code == SEEN[command][0], output
    assert SEEN[command][1] in output
    if command != "evaluate":  # It decodes the clips the first time.
        assert output == seen.setdefault(command, output)


def test_unknown_user_has_a_home_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Containers run as any user ID; without a home folder Ray can't be imported."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert tuning.__main__.main(["predict", "--run", "none", "clip.mp4"]) == 2
    assert Path.home() == Path("/")
