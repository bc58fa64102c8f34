"""What trials take, really measured: in a process of its own, by a real Ray task."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.helpers.noise_training import choose_workload, noise_clips
from data.store.frame_store import FrameStore
from tuning.cluster.profile_task import SweepProfile, load_profile, save_profile
from tuning.config.load import parse_config
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.heaviest import heaviest_trials
from tuning.training.process_memory import peak_memory
from tuning.training.profile import TrialProfile, profile_trial
from tuning.training.trial_data import FoldClips, TrialData
from tuning.trial.spec import Slot

PROJECT = Path(__file__).parents[3]
SIZE, FRAMES = 32, 4


def small(**settings: Any) -> SweepConfig:
    train = {"epochs": 2, "size": SIZE, "batch_size": 4, "precision": "fp32", **settings.pop("train", {})}
    space = {"arch": ["resnet18"], "num_frames": [2, FRAMES], **settings.pop("space", {})}
    return parse_config({"train": train, "space": space, "store": {"frames": 16}, **settings})


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> TrialData:
    """A store of noise."""
    config = small(store={"dir": str(tmp_path_factory.mktemp("store")), "frames": FRAMES, "short_side": SIZE}).store
    noise = tuple(noise_clips(config.open(), choose_workload("resnet18", 4, FRAMES, SIZE)))
    assert isinstance(config.open(), FrameStore)
    return TrialData(
        classes=tuple(map(str, range(22))),
        split_sha256="",
        frame_store=config,
        decode=config.decode_settings(),
        folds=(FoldClips(train=noise[:40], val=noise[40:]),),
    )


def measured_apart(trial: TrialConfig, data: TrialData) -> TrialProfile:
    """In a process of its own, as its peaks ask for."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        return own.submit(profile_trial, trial, data, torch.device("cpu"), 1, 0.5).result()


def test_more_clips_at_once_take_more_memory(clips: TrialData) -> None:
    (few,), (many,) = (heaviest_trials(small(train={"batch_size": batch})) for batch in (4, 128))
    of_few, of_many = measured_apart(few, clips), measured_apart(many, clips)
    # ResNet18's weights, gradients and moments alone are 11 million numbers four times.
    assert 180e6 < of_few.memory < 2e9
    assert of_few.memory + 50e6 < of_many.memory < 8e9
    assert of_few.at_once == of_few.micro_batch == 4
    assert 1e-4 < of_few.val_seconds < of_few.train_seconds < 5
    assert of_few.gpu_memory is of_few.gpu_busy is None


def test_each_fold_has_a_model(clips: TrialData) -> None:
    (trial,) = heaviest_trials(small())
    one, three = (
        measured_apart(trial, clips),
        measured_apart(trial, clips.model_copy(update={"folds": clips.folds * 3})),
    )
    assert (one.folds, three.folds) == (1, 3)
    # Two more of 11 million numbers, each with its gradient and two moments.
    assert three.memory - one.memory > 250e6


def test_loader_processes_are_seen(clips: TrialData) -> None:
    (trial,) = heaviest_trials(small(train={"loader_workers": 1}))
    found = measured_apart(trial, clips)
    assert found.loader_workers == 1
    assert 1e6 < found.loader_memory < 1e9


def test_the_heaviest_trial_of_each_architecture_is_measured() -> None:
    config = small(
        space={
            "arch": ["resnet18", "c3d"],
            "num_frames": [8, 16],
            "train": {"batch_size": [4, 8], "trainable": ["head", "all"], "ema": [0.9]},
            "by_arch": {"resnet18": {"num_frames": [3], "options": {"temporal_width": [16, 64], "temporal": ["lstm"]}}},
        },
        train={"size": 48},
        models={"resnet18": {"weights": "imagenet"}, "c3d": {"weights": "sports1m"}},
    )
    resnet, c3d = heaviest_trials(config)
    assert (resnet.arch, resnet.num_frames, resnet.options["temporal_width"]) == ("resnet18", 3, 64)
    assert (c3d.arch, c3d.num_frames, c3d.train.batch_size, c3d.train.trainable) == ("c3d", 16, 8, "all")
    assert c3d.train.ema == 0.9


def test_a_small_batch_that_trains_all_outweighs_a_large_one_of_the_head() -> None:
    own = [{"train": {"trainable": ["head"], "batch_size": [8]}}, {"train": {"trainable": ["all"], "batch_size": [4]}}]
    (trial,) = heaviest_trials(
        small(space={"by_arch": {"resnet18": own}}, models={"resnet18": {"weights": "imagenet"}})
    )
    assert trial.train.trainable == "all"


def test_a_peak_stays_once_memory_is_free_again() -> None:
    before = peak_memory()
    held = bytearray(os.urandom(1)) * 10**8
    assert len(held) == 10**8
    del held
    assert peak_memory() >= before


ASKED = """
import sys
from pathlib import Path
from data.store.build_report import LabelledFrames
from tuning.cluster.address import use_token_if_required
from tuning.cluster.connect import connected
from tuning.cluster.profile_task import profile_trials
from tuning.config.load import parse_config
from tuning.training.trial_data import FoldClips, TrialData
from tuning.trial.spec import Slot
import json

address, place = sys.argv[1], Path(sys.argv[2])
config = parse_config(json.loads((place / "config.json").read_text()))
clips = TrialData.model_validate_json((place / "clips.json").read_text())
gone = (LabelledFrames("gone.mp4", "f" * 64, 0),)
lost = clips.model_copy(update={"folds": (FoldClips(train=gone, val=gone),)})
slot = Slot(workers=1, cpus=1, gpus=0)
use_token_if_required(address)
with connected(address, verbose=False):
    for name, data in (("found", clips), ("failed", lost)):
        (place / f"{name}.json").write_text(profile_trials(config, data, slot).model_dump_json())
"""


def test_a_cluster_measures_each_architecture_and_what_fails_is_named(
    ray_address: str, clips: TrialData, tmp_path: Path
) -> None:
    """In a process of its own: whether tokens are in use Ray asks once a process, when it is imported."""
    config = small(
        space={"arch": ["resnet18", "c3d"], "num_frames": [8]},
        train={"size": 48},
        models={"c3d": {"width": 2, "batch_norm": True, "head": "pool"}},
    )
    (tmp_path / "config.json").write_text(config.model_dump_json())
    (tmp_path / "clips.json").write_text(clips.model_dump_json())
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", ASKED, ray_address, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = SweepProfile.model_validate_json((tmp_path / "found.json").read_text())
    assert [demand.arch for demand in found.profiles] == ["resnet18", "c3d"], found.failures
    assert found.import_seconds > 0.1
    assert 50e6 < found.import_memory < found.profiles[0].memory < 3e9
    # A narrow C3D has a hundredth of the weights.
    assert found.profiles[1].memory < found.profiles[0].memory
    slot = Slot(workers=1, cpus=1, gpus=0)
    save_profile(found, tmp_path / "demand.json")
    assert load_profile(tmp_path / "demand.json", slot) == found
    assert load_profile(tmp_path / "demand.json", slot.model_copy(update={"gpus": 1.0})) is None, (
        "measured without GPUs"
    )
    failed = SweepProfile.model_validate_json((tmp_path / "failed.json").read_text())
    assert sorted(failure.arch for failure in failed.failures) == ["c3d", "resnet18"]
    assert not failed.profiles
    assert not any(failure.too_large for failure in failed.failures)


@pytest.mark.parametrize("text", [None, "", "{", '{"demands": []}', '{"demands": [{"arch": "c3d"}]}'])
def test_a_damaged_file_is_measured_anew(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "demand.json"
    if text is not None:
        file.write_text(text)
    assert load_profile(file, Slot(workers=1, cpus=1, gpus=0)) is None
    assert SweepProfile().find("c3d") is None
