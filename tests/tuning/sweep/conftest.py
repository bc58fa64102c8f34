"""The folder in which sweeps run, and the small sweep that several files test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.awkward_names import AWKWARD_FOLDER
from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import Workplace
from tuning.__main__ import main


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, demo_clips: Path) -> Workplace:
    folder = tmp_path_factory.mktemp("place") / AWKWARD_FOLDER
    folder.mkdir()
    return Workplace(folder, demo_clips)


@pytest.fixture(scope="session")
def asha_run(place: Workplace, ray_address: str) -> tuple[Path, str]:
    """Four trials, one at a time, with early stopping: later ones start only if stopped ones free their slots."""
    done = place.run(
        place.sweep_command(
            "asha",
            f"--address={ray_address}",
            "space.arch=[c3d,resnet18]",
            "space.num_frames=8",
            "space.lr=[0.001,0.00001]",
            # Epochs take tenths of a second here: a stop must come before the last one even if it is some epochs late.
            "train.epochs=12",
            "search.asha={grace_epochs: 2, reduction_factor: 2}",
            "resources.max_concurrent=1",
        )
    )
    return place.folder / "runs/asha", succeeded(done).stdout


@pytest.fixture
def tuning_here(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m tuning …` in this process, which has already imported what takes seconds."""
    monkeypatch.chdir(place.folder)
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run
