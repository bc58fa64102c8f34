"""Profiles by real Ray tasks, and their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.store.build_report import LabelledFrames
from tests.helpers.noise_data import noise_data, small_sweep
from tests.helpers.processes import call_in_new_process
from tuning.cluster.address import use_token_if_required
from tuning.cluster.connect import connected
from tuning.cluster.profile_task import SweepProfile, load_profile, profile_trials, save_profile
from tuning.config.sweep_config import SweepConfig
from tuning.training.trial_data import FoldClips
from tuning.trial.spec import Slot

SLOT = Slot(workers=1, cpus=1, gpus=0)


def narrow_sweep() -> SweepConfig:
    return small_sweep(
        space={"arch": ["resnet18", "c3d"], "num_frames": [8]},
        train={"size": 48},
        models={"c3d": {"width": 2, "batch_norm": True, "head": "pool"}},
    )


def profile_on_cluster(address: str, folder: str) -> None:
    """Profile a sweep, once with its clips and once with clips that no store has."""
    data = noise_data(Path(folder, "store"))
    missing = (LabelledFrames("missing.mp4", "f" * 64, 0),)
    without_clips = data.model_copy(update={"folds": (FoldClips(train=missing, val=missing),)})
    use_token_if_required(address)
    with connected(address, verbose=False):
        for name, clips in (("found", data), ("failed", without_clips)):
            profile = profile_trials(narrow_sweep(), clips, SLOT)
            Path(folder, f"{name}.json").write_text(profile.model_dump_json())


@pytest.mark.slow
def test_cluster_profiles_each_architecture_and_reports_failures(ray_address: str, tmp_path: Path) -> None:
    call_in_new_process(profile_on_cluster, ray_address, str(tmp_path), RAY_AUTH_MODE="token")
    found = SweepProfile.model_validate_json((tmp_path / "found.json").read_text())
    assert [profile.arch for profile in found.profiles] == ["resnet18", "c3d"], found.failures
    assert found.import_seconds > 0.1
    assert 50e6 < found.import_memory < found.profiles[0].memory < 3e9
    # A narrow C3D has a hundredth of the weights.
    assert found.profiles[1].memory < found.profiles[0].memory
    save_profile(found, tmp_path / "demand.json")
    assert load_profile(tmp_path / "demand.json", SLOT) == found
    with_gpu = SLOT.model_copy(update={"gpus": 1.0})
    assert load_profile(tmp_path / "demand.json", with_gpu) is None, "was measured without GPUs"
    failed = SweepProfile.model_validate_json((tmp_path / "failed.json").read_text())
    assert sorted(failure.arch for failure in failed.failures) == ["c3d", "resnet18"]
    assert not failed.profiles
    assert not any(failure.too_large for failure in failed.failures)


@pytest.mark.parametrize("text", [None, "", "{", '{"demands": []}', '{"demands": [{"arch": "c3d"}]}'])
def test_missing_empty_or_damaged_profile_is_not_loaded(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "demand.json"
    if text is not None:
        file.write_text(text)
    assert load_profile(file, SLOT) is None
    assert SweepProfile().find("c3d") is None
