"""Resources of a trial and how many trials fit, on clusters that this machine can't be."""

from __future__ import annotations

import math

import pytest
import ray

from tests.helpers.sweep_profiles import GB, GPU_NODE, HEAD, LAPTOP, gpu_profile, sweep_profile, trial_profile
from tuning.cluster.address import ClusterError
from tuning.cluster.placement import NodeResources, alive_nodes, needed_memory, plan_slots
from tuning.cluster.profile_task import ProfileFailure, SweepProfile
from tuning.config.load import parse_config
from tuning.config.schema.resources import ResourcesConfig
from tuning.errors import ConfigError
from tuning.training.profile import TrialProfile
from tuning.trial.spec import DRIVER_MEMORY, Slot


def slots(nodes: list[NodeResources], profile: SweepProfile | None = None, **resources: float) -> tuple[Slot, int]:
    return plan_slots(ResourcesConfig.model_validate(resources), nodes, profile)


RAY_HEAD = {"CPU": 0.0}
RAY_LAPTOP = {"CPU": 2.0}
RAY_GPU_NODE = {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "resources", "slot", "max_concurrent"),
    [
        ([RAY_LAPTOP], {}, (1, 1.0, 0.0), 2),
        ([RAY_LAPTOP], {"workers": 2}, (2, 1.0, 0.0), 1),
        ([RAY_LAPTOP], {"cpus": 2}, (1, 2.0, 0.0), 1),
        ([RAY_GPU_NODE], {}, (1, 8.0, 1.0), 2),
        ([RAY_HEAD, RAY_GPU_NODE, RAY_GPU_NODE], {}, (1, 8.0, 1.0), 4),
        ([RAY_GPU_NODE], {"gpus": 0.5}, (1, 4.0, 0.5), 4),
        ([RAY_GPU_NODE], {"gpus": 0.4, "cpus": 1}, (1, 1.0, 0.4), 4),
        ([RAY_GPU_NODE], {"gpus": 2}, (1, 8.0, 2.0), 1),
        ([RAY_GPU_NODE, RAY_LAPTOP], {"gpus": 0}, (1, 1.0, 0.0), 18),
        ([RAY_HEAD], {"max_concurrent": 4, "gpus": 1, "cpus": 7}, (1, 7.0, 1.0), 4),
    ],
)
def test_max_concurrent_trials_is_the_number_that_fits(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, float]],
    resources: dict[str, float],
    slot: tuple[int, float, float],
    max_concurrent: int,
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    planned, fitting = slots(alive_nodes(), **resources)
    assert (planned.workers, planned.cpus, planned.gpus) == slot
    assert fitting == max_concurrent


@pytest.mark.parametrize("resources", [{"cpus": 4}, {"gpus": 1}, {"workers": 3}])
def test_trial_that_fits_on_no_node_is_refused(resources: dict[str, float]) -> None:
    remedy = "set resources.gpus=0 to train without a GPU, lower" if resources.get("gpus") else "lower"
    with pytest.raises(ClusterError, match=f"^no trial fits: .* the largest node has 2 CPU and 0 GPU; {remedy}"):
        slots([LAPTOP], **resources)


@pytest.mark.parametrize(
    ("trials", "gpu", "gpus"),
    [
        ([gpu_profile(busy=0.3)], 80, 0.25),
        ([gpu_profile(busy=0.45)], 80, 0.3333),
        ([gpu_profile(busy=0.6)], 80, 0.5),
        ([gpu_profile(busy=0.95)], 80, 1.0),
        ([gpu_profile(busy=None)], 80, 1.0),
        ([gpu_profile(busy=0.3)], 24, 0.5),
        ([gpu_profile(busy=0.3)], 16, 1.0),
        ([gpu_profile(busy=0.3), gpu_profile("c3d", gpu_memory=30)], 80, 0.5),
        ([gpu_profile(busy=0.3), gpu_profile("c3d", busy=0.9)], 80, 1.0),
        ([gpu_profile(gpu_memory=30)], 24, 1.0),
        ([], 80, 1.0),
    ],
)
def test_gpu_is_shared_by_as_many_trials_as_fit_and_keep_it_busy(
    trials: list[TrialProfile], gpu: float, gpus: float
) -> None:
    slot, max_concurrent = slots([HEAD, GPU_NODE], sweep_profile(*trials, gpu=gpu))
    assert slot.gpus == gpus
    assert max_concurrent == 2 * math.floor(1 / gpus)
    assert max_concurrent * slot.cpus <= GPU_NODE.cpus


def test_trials_that_share_a_gpu_have_two_cpus_each_and_fit_into_main_memory() -> None:
    small = NodeResources("small", 4, 1, 64 * GB)
    profile = sweep_profile(gpu_profile())
    assert slots([small], profile)[0].gpus == 0.5
    assert slots([GPU_NODE, small], profile)[0].gpus == 0.5
    assert slots([small], profile, cpus=1)[0].gpus == 0.25
    assert slots([small], sweep_profile(gpu_profile(memory=40 * GB)))[0].gpus == 1


def test_explicit_settings_override_the_profile() -> None:
    profile = sweep_profile(gpu_profile())
    assert slots([GPU_NODE], profile, gpus=1)[0].gpus == 1
    assert slots([GPU_NODE], profile, workers=2)[0].gpus == 1
    slot, _ = slots([GPU_NODE], profile, memory=3.5)
    assert slot.memory == 3_500_000_000
    failed = profile.model_copy(update={"failures": (ProfileFailure(arch="c3d", reason="x"),)})
    assert slots([GPU_NODE], failed)[0].gpus == 1


def test_several_workers_on_a_fraction_of_a_gpu_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"gpus is 0.5 and workers is 2: NCCL refuses .* \(gpus=1\), or set workers"):
        parse_config({"resources": {"workers": 2, "gpus": 0.5}})


def test_needed_memory_includes_loaders_driver_and_margin() -> None:
    slot = Slot(workers=1, cpus=3, gpus=1)
    profile = sweep_profile(gpu_profile(memory=2 * GB, loader_memory=GB // 4, folds=2), import_memory=GB)
    # Two loader processes for each of two loaders of two folds; a driver of 1 GB.
    assert needed_memory(profile, slot) == pytest.approx((2 * GB + 8 * GB / 4) * 1.1 + GB - DRIVER_MEMORY)
    with_loaders = sweep_profile(trial_profile(loader_memory=GB, loader_workers=3))
    assert needed_memory(with_loaders, Slot(workers=1, cpus=1, gpus=0)) == pytest.approx(7 * GB * 1.1)
    assert needed_memory(SweepProfile(), slot) is None


def test_profiled_memory_limits_concurrent_trials_but_never_refuses_one() -> None:
    node = NodeResources("", 8, 0, 10 * GB)
    slot, max_concurrent = slots([node], sweep_profile(trial_profile(memory=2 * GB)))
    assert (slot.memory, max_concurrent) == (2_200_000_000, 4)
    too_large = sweep_profile(trial_profile(memory=20 * GB))
    slot, max_concurrent = slots([node], too_large)
    assert (slot.memory, max_concurrent) == (10 * GB - DRIVER_MEMORY, 1)
    # Drivers of pending trials hold their memory too.
    slot, _ = slots([node], too_large, max_concurrent=4)
    assert slot.memory == 10 * GB - 4 * DRIVER_MEMORY
    memory_unknown = NodeResources("", 8, 0, math.inf)
    assert slots([memory_unknown], sweep_profile(trial_profile()))[1] == 8


def test_memory_setting_above_the_largest_node_is_refused() -> None:
    with pytest.raises(
        ClusterError, match=r"and 40 GB, the largest node has 2 CPU and 0 GPU and 16 GB for workers; .* re"
    ):
        slots([LAPTOP], memory=40)
