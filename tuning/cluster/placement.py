"""Resources of one trial, and how many trials fit on the nodes of a cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from tuning.cluster.address import ClusterError
from tuning.cluster.profile_task import SweepProfile
from tuning.config.schema.resources import ResourcesConfig
from tuning.training.profile import TrialProfile
from tuning.trial.spec import DRIVER_MEMORY, Slot

MEMORY_MARGIN = 1.1
"""Factor from profiled memory to reserved memory, since not every batch takes the same."""

MAX_TRIALS_PER_GPU = 4
MIN_GPU_GAIN = 0.15
"""Least share of a GPU's time that an additional trial must fill to be worth sharing the GPU."""
MIN_SHARED_GPU_CPUS = 2
"""Least CPUs of a trial that shares a GPU: one to launch its kernels, one to load its clips."""


@dataclass(frozen=True, slots=True)
class NodeResources:
    """Resources of one node, as Ray knows them."""

    address: str
    cpus: float
    gpus: float
    memory: float
    """Bytes of main memory; infinite if Ray does not know."""


def alive_nodes() -> list[NodeResources]:
    """Return the nodes of the connected cluster."""
    return [
        NodeResources(
            address=node.get("NodeManagerAddress", ""),
            cpus=node["Resources"].get("CPU", 0),
            gpus=node["Resources"].get("GPU", 0),
            memory=node["Resources"].get("memory", math.inf),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def plan_slots(
    resources: ResourcesConfig, nodes: Sequence[NodeResources], profile: SweepProfile | None = None
) -> tuple[Slot, int]:
    """Return the resources of one trial and how many trials run concurrently.

    Args:
        resources: settings; those that are None are chosen here.
        nodes: the nodes of the cluster.
        profile: what the trials need; None before they have been profiled.

    Raises:
        ClusterError: no trial fits, and `max_concurrent` is not set, which would say that more nodes will join.
    """
    slot = _choose_slot(resources, nodes, profile or SweepProfile())
    if resources.max_concurrent is not None:
        return slot, resources.max_concurrent
    fitting = count_fitting_trials(slot, nodes)
    if fitting == 0:
        raise ClusterError(_no_trial_fits(slot, nodes))
    return slot, fitting


def _no_trial_fits(slot: Slot, nodes: Sequence[NodeResources]) -> str:
    largest_memory, memory_setting = "", ""
    if slot.memory is not None:
        largest_memory = f" and {max(node.memory for node in nodes) / 1e9:.3g} GB for workers"
        memory_setting = ", resources.memory"
    no_gpu = slot.gpus > 0 and not any(node.gpus for node in nodes)
    without_gpu = "set resources.gpus=0 to train without a GPU, " if no_gpu else ""
    return (
        f"no trial fits: it takes {slot.summary}, the largest node has {max(node.cpus for node in nodes):g} CPU and "
        f"{max(node.gpus for node in nodes):g} GPU{largest_memory}; {without_gpu}lower resources.cpus, resources.gpus"
        f"{memory_setting} or resources.workers, or set resources.max_concurrent if more nodes will join"
    )


def count_fitting_trials(slot: Slot, nodes: Sequence[NodeResources]) -> int:
    """Return how many trials fit on these nodes concurrently."""
    return sum(count_workers(node, slot) for node in nodes) // slot.workers


def count_workers(node: NodeResources, slot: Slot) -> int:
    """Return how many workers fit on a node concurrently."""
    return min(workers_by_resource(node, slot).values())


def workers_by_resource(node: NodeResources, slot: Slot) -> dict[str, int]:
    """Return for how many workers each resource of a node suffices: `CPUs`, and `GPUs` and `memory` if reserved."""
    counts = {"CPUs": math.floor(node.cpus / slot.cpus)}
    if slot.gpus:
        # A fraction is of a single GPU: 0.4 fits twice on each of two GPUs, not five times.
        per_gpu = math.floor(1 / slot.gpus) if slot.gpus < 1 else 1 / slot.gpus
        counts["GPUs"] = math.floor(int(node.gpus) * per_gpu)
    if slot.memory is not None and node.memory != math.inf:
        counts["memory"] = math.floor(node.memory / (slot.memory + DRIVER_MEMORY / slot.workers))
    return counts


def _choose_slot(resources: ResourcesConfig, nodes: Sequence[NodeResources], profile: SweepProfile) -> Slot:
    gpus = resources.gpus if resources.gpus is not None else _default_gpus(resources, nodes, profile)
    cpus = resources.cpus
    if cpus is None:
        cpus = float(max(1, min(8, math.floor(_cpus_per_gpu(nodes) * gpus)))) if gpus else 1.0
    slot = Slot(workers=resources.workers, cpus=cpus, gpus=gpus)
    if resources.memory is not None:
        return slot.model_copy(update={"memory": round(resources.memory * 1e9)})
    needed = needed_memory(profile, slot)
    if needed is None:
        return slot
    return slot.model_copy(update={"memory": min(needed, _largest_memory(slot, nodes, resources.max_concurrent or 1))})


def _cpus_per_gpu(nodes: Sequence[NodeResources]) -> float:
    """Return the CPUs per GPU of the nodes that have GPUs."""
    cpus = sum(node.cpus for node in nodes if node.gpus > 0)
    gpus = sum(node.gpus for node in nodes)
    return cpus / gpus if gpus else 1.0


def needed_memory(profile: SweepProfile, slot: Slot) -> int | None:
    """Return the bytes of main memory that a worker of the largest trial needs, with a margin; None if unknown."""
    needed = [trial.memory + trial.loader_memory * _num_loader_processes(trial, slot) for trial in profile.profiles]
    if not needed:
        return None
    # The driver is a process too; what it holds above its own reservation is shared out among its workers.
    driver = max(0, profile.import_memory - DRIVER_MEMORY) / slot.workers
    return math.ceil(max(needed) * MEMORY_MARGIN + driver)


def _num_loader_processes(trial: TrialProfile, slot: Slot) -> int:
    """Return the loader processes of a worker: two loaders per fold, each with as many as `num_loader_workers` says."""
    default = max(0, int(slot.cpus) - 1) if slot.gpus else 0
    return 2 * trial.folds * (default if trial.loader_workers is None else trial.loader_workers)


def _largest_memory(slot: Slot, nodes: Sequence[NodeResources], drivers: int) -> int:
    """Return the most bytes that a worker can reserve, so that a profile never refuses a trial that could run."""
    fitting = [node.memory for node in nodes if count_workers(node, slot) >= 1]
    largest = (max(fitting, default=math.inf) - drivers * DRIVER_MEMORY) / slot.workers
    return max(1, int(min(largest, 2**60)))


def _default_gpus(resources: ResourcesConfig, nodes: Sequence[NodeResources], profile: SweepProfile) -> float:
    if not sum(node.gpus for node in nodes):
        return 0.0
    if resources.workers > 1:
        return 1.0  # NCCL refuses two workers of a trial on one GPU.
    return gpu_fraction(trials_per_gpu(nodes, profile, resources.cpus))


def gpu_fraction(trials: int) -> float:
    """Return the GPU fraction per trial when `trials` trials share one GPU."""
    # Ray counts in units of 1/10000: three times 0.3334 would be more than one GPU.
    return math.floor(1e4 / trials) / 1e4


def trials_per_gpu(nodes: Sequence[NodeResources], profile: SweepProfile, cpus: float | None) -> int:
    """Return how many of the largest trials should share the smallest GPU; 1 if the trials have not been profiled.

    As many as fit into its memory, have enough CPUs, and keep the GPU busy: processes that share a GPU take turns on
    it, so that more of them gain nothing once it never idles.

    Args:
        nodes: the nodes of the cluster.
        profile: what the trials need.
        cpus: CPUs per worker, if set.
    """
    trials = [trial for trial in profile.profiles if trial.gpu_memory is not None]
    if not trials or profile.gpu_memory is None or profile.failures:
        return 1
    by_gpu_memory = profile.gpu_memory / (MEMORY_MARGIN * max(trial.gpu_memory or 0 for trial in trials))
    gpu_nodes = [node for node in nodes if node.gpus > 0]
    by_cpus = min(node.cpus / node.gpus for node in gpu_nodes) / (cpus or MIN_SHARED_GPU_CPUS)
    memory = max(trial.memory for trial in trials) * MEMORY_MARGIN + max(DRIVER_MEMORY, profile.import_memory)
    by_memory = min(node.memory / node.gpus for node in gpu_nodes) / memory
    by_load = math.ceil(1 / max(trial.gpu_busy or 1.0 for trial in trials) - MIN_GPU_GAIN)
    return max(1, math.floor(min(MAX_TRIALS_PER_GPU, by_gpu_memory, by_cpus, by_memory, by_load)))
