from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.clusters import truncate
from tests.helpers.checkpoints import checkpoint as checkpoint
from tests.helpers.processes import PROJECT, succeeded
from tuning.training.checkpoint import latest_intact_checkpoint
from tuning.trial.driver import remove_corrupt_snapshot, trial_resources
from tuning.trial.spec import DRIVER_MEMORY, Slot


@pytest.fixture
def trial(checkpoint: tuple[Path, object], tmp_path: Path) -> Path:
    """A trial's folder with three checkpoints."""
    folder = tmp_path / "trial"
    for number in range(3):
        shutil.copytree(checkpoint[0], folder / f"checkpoint_{number}")
    return folder


def test_resume_uses_the_newest_checkpoint(trial: Path) -> None:
    assert latest_intact_checkpoint(trial, None) == trial / "checkpoint_2"
    assert latest_intact_checkpoint(trial / "none", None) is None


def test_resume_ignores_a_checkpoint_unknown_to_ray(trial: Path) -> None:
    assert latest_intact_checkpoint(trial, Path("/elsewhere/checkpoint_1")) == trial / "checkpoint_1"


@pytest.mark.parametrize("file", ["model.pt", "training.pt", "validation.pt", "checkpoint.json"])
def test_resume_ignores_corrupt_checkpoints(trial: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    truncate(trial / "checkpoint_2" / file)
    (trial / "checkpoint_1" / file).unlink()
    assert latest_intact_checkpoint(trial, trial / "checkpoint_2") == trial / "checkpoint_0"
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("note: skipping a checkpoint: ")
    assert str(trial / "checkpoint_2") in first
    assert str(trial / "checkpoint_1") in second


def write_snapshot(trial: Path, *names: str) -> Path:
    """Write Ray's index of checkpoints, with the entries that matter here."""
    file = trial / "checkpoint_manager_snapshot.json"
    file.write_text(json.dumps({"checkpoint_results": [{"checkpoint_dir_name": name} for name in names]}))
    return file


def test_valid_snapshot_is_kept(trial: Path) -> None:
    file = write_snapshot(trial, "checkpoint_0", "checkpoint_2")
    before = file.read_text()
    remove_corrupt_snapshot(trial)
    assert file.read_text() == before
    remove_corrupt_snapshot(trial / "none")


@pytest.mark.parametrize("damage", ["truncated", "empty", "checkpoint missing"])
def test_corrupt_snapshot_is_removed(trial: Path, damage: str) -> None:
    file = write_snapshot(trial, "checkpoint_0", "checkpoint_2")
    if damage == "checkpoint missing":
        shutil.rmtree(trial / "checkpoint_2")
    elif damage == "truncated":
        truncate(file)
    else:
        file.write_text("")
    remove_corrupt_snapshot(trial)
    assert not file.exists()


def test_trial_reserves_its_workers_only_if_it_reuses_them() -> None:
    slot = Slot(workers=2, cpus=3, gpus=0.5, memory=10**9)
    driver, worker = {"memory": DRIVER_MEMORY}, {"CPU": 3, "GPU": 0.5, "memory": 1e9}
    assert trial_resources(slot).bundles == [driver, worker, worker]
    assert trial_resources(slot, reuse_workers=False).bundles == [driver]


def test_driver_loads_without_rays_internals_unless_it_reuses_workers() -> None:
    code = "import sys, tuning.trial.driver; assert 'tuning.trial.ray_internals' not in sys.modules"
    succeeded(subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False))
