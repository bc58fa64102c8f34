"""Nodes, profiles and plans of clusters that this machine can't be."""

from __future__ import annotations

from typing import Any

from data.store.build_report import LabelledFrames
from tuning.cluster.placement import NodeResources
from tuning.cluster.plan import SweepPlan, plan_sweep
from tuning.cluster.profile_task import SweepProfile
from tuning.config.load import parse_config
from tuning.config.schema.store import StoreConfig
from tuning.training.profile import TrialProfile
from tuning.training.trial_data import FoldClips, TrialData

GB = 10**9
HEAD = NodeResources("head", 0, 0, 8 * GB)
LAPTOP = NodeResources("laptop", 2, 0, 16 * GB)
CPU_NODE = NodeResources("cpu", 16, 0, 64 * GB)
GPU_NODE = NodeResources("gpu", 16, 2, 128 * GB)

_CLIP = LabelledFrames("a.mp4", "0" * 64, 0)


def trial_profile(arch: str = "resnet18", **values: Any) -> TrialProfile:
    """A trial of 1 GB on a CPU."""
    defaults = {
        "num_frames": 16,
        "device": "cpu",
        "at_once": 16,
        "micro_batch": 16,
        "memory": GB,
        "folds": 1,
        "loader_memory": 0,
        "loader_workers": None,
        "train_seconds": 0.1,
        "val_seconds": 0.05,
        "build_seconds": 1.0,
    }
    return TrialProfile.model_validate({"arch": arch, **defaults, **values})


def gpu_profile(arch: str = "resnet18", gpu_memory: float = 8, busy: float | None = 0.3, **values: Any) -> TrialProfile:
    """A trial of `gpu_memory` GB on a GPU, which it keeps busy for a fraction of the time."""
    return trial_profile(arch, device="GPU", gpu_memory=int(gpu_memory * GB), gpu_busy=busy, **values)


def sweep_profile(*profiles: TrialProfile, gpu: float = 80, **values: Any) -> SweepProfile:
    """The profile of a sweep on a cluster whose smallest GPU has `gpu` GB."""
    gpu_memory = int(gpu * GB) if any(profile.gpu_memory for profile in profiles) else None
    return SweepProfile(profiles=profiles, gpu_memory=gpu_memory, **values)


def planned(
    nodes: list[NodeResources], profile: SweepProfile | None = None, folds: int = 1, **settings: Any
) -> SweepPlan:
    """The plan of a sweep over 100 training and 20 validation clips per fold: by default ResNet18, 10 epochs."""
    space = {"arch": ["resnet18"], "num_frames": [16], "lr": [1e-3], **settings.pop("space", {})}
    config = parse_config({"space": space, "train": {"epochs": 10}, **settings})
    store = StoreConfig()
    data = TrialData(
        classes=("a", "b"),
        split_sha256="",
        frame_store=store,
        decode=store.decode_settings(),
        folds=(FoldClips(train=(_CLIP,) * 100, val=(_CLIP,) * 20),) * folds,
    )
    return plan_sweep(config, data, profile or sweep_profile(trial_profile()), nodes)
