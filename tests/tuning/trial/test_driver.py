from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.faults.clusters import spoil
from tests.tuning.training.test_checkpoint import checkpoint as checkpoint
from tuning.training.checkpoint import latest_intact_checkpoint
from tuning.trial.driver import mend_snapshot


@pytest.fixture
def trial(checkpoint: tuple[Path, object], tmp_path: Path) -> Path:
    """Three checkpoints of a trial."""
    folder = tmp_path / "trial"
    for number in range(3):
        shutil.copytree(checkpoint[0], folder / f"checkpoint_{number}")
    return folder


def test_the_newest_checkpoint_is_gone_on_from(trial: Path) -> None:
    assert latest_intact_checkpoint(trial, None) == trial / "checkpoint_2"
    assert latest_intact_checkpoint(trial / "none", None) is None


def test_a_checkpoint_that_ray_has_not_heard_of_is_passed_over(trial: Path) -> None:
    assert latest_intact_checkpoint(trial, Path("/elsewhere/checkpoint_1")) == trial / "checkpoint_1"


@pytest.mark.parametrize("file", ["model.pt", "training.pt", "validation.pt", "checkpoint.json"])
def test_of_a_damaged_checkpoint_the_one_before_is_gone_on_from(
    trial: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(trial / "checkpoint_2" / file)
    (trial / "checkpoint_1" / file).unlink()
    assert latest_intact_checkpoint(trial, trial / "checkpoint_2") == trial / "checkpoint_0"
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("note: not gone on from: ")
    assert str(trial / "checkpoint_2") in first
    assert str(trial / "checkpoint_1") in second


def snapshot(trial: Path, *names: str) -> Path:
    """As Ray writes it, as far as it matters."""
    file = trial / "checkpoint_manager_snapshot.json"
    file.write_text(json.dumps({"checkpoint_results": [{"checkpoint_dir_name": name} for name in names]}))
    return file


def test_a_whole_list_of_checkpoints_is_left_alone(trial: Path) -> None:
    file = snapshot(trial, "checkpoint_0", "checkpoint_2")
    before = file.read_text()
    mend_snapshot(trial)
    assert file.read_text() == before
    mend_snapshot(trial / "none")


@pytest.mark.parametrize("damage", ["half", "empty", "gone"])
def test_a_damaged_list_of_checkpoints_is_removed(trial: Path, damage: str) -> None:
    file = snapshot(trial, "checkpoint_0", "checkpoint_2")
    if damage == "gone":
        shutil.rmtree(trial / "checkpoint_2")
    elif damage == "half":
        spoil(file)
    else:
        file.write_text("")
    mend_snapshot(trial)
    assert not file.exists()
