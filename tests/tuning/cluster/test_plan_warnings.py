from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.sweep_profiles import (
    CPU_NODE,
    GB,
    GPU_NODE,
    HEAD,
    LAPTOP,
    gpu_profile,
    planned,
    sweep_profile,
    trial_profile,
)
from tuning.cluster.placement import NodeResources
from tuning.cluster.profile_task import ProfileFailure, SweepProfile

MANY = {"lr": [1e-3, 3e-4, 1e-4, 3e-5, 1e-5], "sampler": ["imbalanced", "balanced"], "num_frames": [8, 16]}


@pytest.mark.parametrize(
    ("nodes", "profile", "settings", "warning"),
    [
        ([CPU_NODE], None, {}, "2 trial(s) leave 14 of 16 slots empty: resources.cpus=8 gives each more CPUs"),
        (
            [GPU_NODE, GPU_NODE],
            sweep_profile(gpu_profile(busy=0.9)),
            {},
            "resources.workers=2 gives each trial more GPUs",
        ),
        ([GPU_NODE], sweep_profile(gpu_profile()), {}, "resources.gpus=1 gives each trial a whole GPU"),
        ([CPU_NODE], None, {"resources": {"max_concurrent": 1}}, "max_concurrent is 1, but 16 trials would fit"),
        (
            [GPU_NODE],
            None,
            {"space": MANY, "resources": {"cpus": 16}},
            "1 GPU(s) stay idle, since CPUs run out first: lower resources.cpus (16 per worker)",
        ),
        (
            [NodeResources("", 16, 2, 8 * GB)],
            None,
            {"space": MANY, "resources": {"memory": 6}},
            "1 GPU(s) stay idle, since memory runs out first: lower resources.memory (6 GB per worker)",
        ),
        (
            [GPU_NODE],
            None,
            {"space": MANY, "resources": {"gpus": 0.6}},
            "0.4 of each GPU stays idle: resources.gpus=0.6 fits 1 time(s) on one; resources.gpus=1 uses",
        ),
        ([GPU_NODE], None, {"space": MANY, "resources": {"gpus": 2}}, "set resources.workers=2 and resources.gpus=1"),
        (
            [NodeResources("", 16, 3, 64 * GB)],
            None,
            {"space": MANY, "resources": {"gpus": 2}},
            "1 GPU(s) stay idle: resources.gpus=2 does not divide",
        ),
        (
            [GPU_NODE, CPU_NODE],
            sweep_profile(gpu_profile(busy=0.9)),
            {"space": MANY},
            "1 node(s) without GPU, 16 CPUs in all, stay idle",
        ),
        (
            [NodeResources("", 16, 0, 8 * GB)],
            sweep_profile(trial_profile(memory=3 * GB)),
            {"space": MANY},
            "14 CPUs stay idle, since memory runs out first (3.3 GB per worker)",
        ),
        ([CPU_NODE], None, {"space": MANY, "resources": {"cpus": 6}}, "4 CPUs stay idle: resources.cpus=6 does not"),
        ([CPU_NODE], None, {"space": MANY, "resources": {"workers": 3}}, "slots for 1 of 16 workers stay empty"),
        (
            [LAPTOP],
            sweep_profile(trial_profile(memory=40 * GB)),
            {},
            "the largest node has only 16 GB per worker, but 44 GB were profiled",
        ),
        (
            [LAPTOP],
            sweep_profile(trial_profile(memory=2 * GB)),
            {"resources": {"memory": 1}},
            "resources.memory is 1 GB per worker",
        ),
        (
            [GPU_NODE],
            sweep_profile(gpu_profile(micro_batch=4)),
            {},
            "resnet18 at 16 frames: 4 clips at a time fit into the GPU's memory, not 16",
        ),
        (
            [GPU_NODE],
            SweepProfile(failures=(ProfileFailure(arch="c3d", reason="", too_large=True),)),
            {},
            "c3d: not even one clip at a time fits into the GPU's memory; lower space.num_frames",
        ),
    ],
)
def test_warning_names_the_setting_to_change(
    nodes: list[NodeResources], profile: SweepProfile | None, settings: dict[str, Any], warning: str
) -> None:
    plan = planned(nodes, profile, **settings)
    assert any(warning in each for each in plan.warnings), plan.warnings
    assert f"warning: {plan.warnings[0]}" in plan.text()


@pytest.mark.parametrize(
    ("nodes", "profile"),
    [
        ([HEAD, LAPTOP], None),
        ([HEAD, GPU_NODE], sweep_profile(gpu_profile(busy=0.9))),
        ([LAPTOP, GPU_NODE], sweep_profile(gpu_profile(busy=0.3))),
        ([NodeResources("", 17, 0, 64 * GB)], None),
        (
            [NodeResources("", 16, 4, 64 * GB), NodeResources("", 17, 4, 64 * GB)],
            sweep_profile(gpu_profile(busy=0.3, gpu_memory=60)),
        ),
    ],
)
def test_no_warning_if_the_cluster_is_used(nodes: list[NodeResources], profile: SweepProfile | None) -> None:
    assert planned(nodes, profile, space=MANY).warnings == ()
