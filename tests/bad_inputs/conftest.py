"""Clips, a run with a champion, and a folder to run commands in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data.__main__ import main
from tests.bad_inputs.commands import Console
from tests.helpers.champions import make_run
from tests.helpers.small_models import one_thread
from tests.helpers.sweep_runs import SMALL_CONFIG
from tests.helpers.video_files import moving_square, write_video
from tuning.config.run_folder import RunFolder

CLASSES = ("pull Up", "squat")
STORE_OPTIONS = ("--frames", "8", "--short-side", "48", "--workers", "1")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four clips; the frame store beside them has their frames."""
    root = tmp_path_factory.mktemp("bad") / "clips"
    for number in range(8):
        write_video(root / CLASSES[number % 2] / f"{number}.mp4", moving_square(number))
    out = root.parent / "audit"
    assert main(["audit", str(root), "--out", str(out), "--store", str(root.parent / "store"), *STORE_OPTIONS]) == 0
    shutil.rmtree(out)
    return root


@pytest.fixture(scope="session")
def store(clips: Path) -> tuple[str, ...]:
    """The options by which `audit`, `groups` and `split` use the frame store of the clips."""
    return ("--store", str(clips.parent / "store"), *STORE_OPTIONS)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a champion; tests that change it copy it."""
    with one_thread():
        return make_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with settings in `small.yaml`; no server and no cluster is named from outside."""
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    Path("small.yaml").write_text(SMALL_CONFIG)
    return tmp_path / "place"


@pytest.fixture
def console(place: Path, clips: Path, capfd: pytest.CaptureFixture[str]) -> Console:
    """Runs commands in `place`."""
    return Console(capfd, place, clips)
