"""A sweep of small trials, and clips of noise to profile them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.helpers.noise_training import choose_workload, noise_clips
from tuning.config.load import parse_config
from tuning.config.sweep_config import SweepConfig
from tuning.training.trial_data import FoldClips, TrialData

SIZE, FRAMES = 32, 4


def small_sweep(**settings: Any) -> SweepConfig:
    """Return a sweep over the frame counts of ResNet18, with some settings changed."""
    train = {"epochs": 2, "size": SIZE, "batch_size": 4, "precision": "fp32", **settings.pop("train", {})}
    space = {"arch": ["resnet18"], "num_frames": [2, FRAMES], **settings.pop("space", {})}
    return parse_config({"train": train, "space": space, "store": {"frames": 16}, **settings})


def noise_data(folder: Path) -> TrialData:
    """Write a frame store of noise."""
    config = small_sweep(store={"dir": str(folder), "frames": FRAMES, "short_side": SIZE}).store
    noise = tuple(noise_clips(config.open(), choose_workload("resnet18", 4, FRAMES, SIZE)))
    return TrialData(
        classes=tuple(map(str, range(22))),
        split_sha256="",
        frame_store=config,
        decode=config.decode_settings(),
        folds=(FoldClips(train=noise[:40], val=noise[40:]),),
    )
