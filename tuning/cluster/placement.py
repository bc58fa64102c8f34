"""What a trial asks for, and how many trials fit on the nodes of a cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from tuning.cluster.address import ClusterError
from tuning.cluster.profile_task import Measured
from tuning.config.schema.resources import ResourcesConfig
from tuning.training.profile import TrialProfile
from tuning.trial.spec import DRIVER_MEMORY, Slot

MARGIN = 1.1
"""Memory asked for over memory measured: not every batch is alike."""

MOST_ON_A_GPU = 4
GAIN = 0.15
"""Least part of a GPU's time for which it is worth that one more trial shares it."""
CPUS_BESIDE = 2
"""Least CPUs for a trial that shares a GPU: one to launch its kernels, one to load its clips."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a machine has for Ray."""

    address: str
    cpus: float
    gpus: float
    memory: float
    """Bytes; infinite where Ray is not told."""


def alive_nodes() -> list[Node]:
    """Those of the connected cluster."""
    return [
        Node(
            address=node.get("NodeManagerAddress", ""),
            cpus=node["Resources"].get("CPU", 0),
            gpus=node["Resources"].get("GPU", 0),
            memory=node["Resources"].get("memory", math.inf),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def plan_slots(resources: ResourcesConfig, nodes: Sequence[Node], measured: Measured | None = None) -> tuple[Slot, int]:
    """What a trial takes and how many run at once.

    Args:
        resources: what is not left to default.
        nodes: those that are there.
        measured: what trials need; None before that is known.

    Raises:
        ClusterError: no node can hold a worker, and `max_concurrent` does not say that nodes will come.
    """
    slot = _choose_slot(resources, nodes, measured or Measured())
    if resources.max_concurrent is not None:
        return slot, resources.max_concurrent
    fitting = trials_that_fit(slot, nodes)
    if fitting == 0:
        asked = slot.memory is not None
        raise ClusterError(
            f"no trial fits: it takes {slot.summary}, the largest node has "
            f"{max(node.cpus for node in nodes):g} CPU and {max(node.gpus for node in nodes):g} GPU"
            f"{_largest_memory(nodes) if asked else ''}; lower resources.cpus, resources.gpus"
            f"{', resources.memory' if asked else ''} or resources.workers, or set resources.max_concurrent if nodes "
            "are yet to come"
        )
    return slot, fitting


def _largest_memory(nodes: Sequence[Node]) -> str:
    return f" and {max(node.memory for node in nodes) / 1e9:.3g} GB for workers"


def trials_that_fit(slot: Slot, nodes: Sequence[Node]) -> int:
    """How many trials these nodes hold at once."""
    return sum(workers_on(node, slot) for node in nodes) // slot.workers


def workers_on(node: Node, slot: Slot) -> int:
    """How many workers a node holds at once."""
    return min(limits(node, slot).values())


def limits(node: Node, slot: Slot) -> dict[str, int]:
    """How many workers each of a node's resources has room for, without those that are not asked for."""
    found = {"CPUs": math.floor(node.cpus / slot.cpus)}
    if slot.gpus:
        # A fraction is of one GPU: 0.4 fits twice on each, not five times on two.
        a_gpu = math.floor(1 / slot.gpus) if slot.gpus < 1 else 1 / slot.gpus
        found["GPUs"] = math.floor(int(node.gpus) * a_gpu)
    if slot.memory is not None and node.memory != math.inf:
        found["memory"] = math.floor(node.memory / (slot.memory + DRIVER_MEMORY / slot.workers))
    return found


def _choose_slot(resources: ResourcesConfig, nodes: Sequence[Node], measured: Measured) -> Slot:
    gpus = resources.gpus if resources.gpus is not None else _default_gpus(resources, nodes, measured)
    cpus = resources.cpus
    if cpus is None:
        cpus = float(max(1, min(8, math.floor(_cpus_beside(nodes) * gpus)))) if gpus else 1.0
    slot = Slot(workers=resources.workers, cpus=cpus, gpus=gpus)
    if resources.memory is not None:
        return slot.model_copy(update={"memory": round(resources.memory * 1e9)})
    needed = needed_memory(measured, slot)
    if needed is None:
        return slot
    return slot.model_copy(update={"memory": min(needed, _memory_there(slot, nodes, resources.max_concurrent or 1))})


def _cpus_beside(nodes: Sequence[Node]) -> float:
    """CPUs for each GPU on the nodes that have some."""
    beside = sum(node.cpus for node in nodes if node.gpus > 0)
    gpus = sum(node.gpus for node in nodes)
    return beside / gpus if gpus else 1.0


def needed_memory(measured: Measured, slot: Slot) -> int | None:
    """Bytes that a worker of the largest trial takes of a node, with a margin; None where nothing was measured."""
    found = [demand.memory + demand.loader_memory * _loaders(demand, slot) for demand in measured.demands]
    if not found:
        return None
    # Its driver is a process too, which asks for a part of what it holds.
    beside = max(0, measured.import_memory - DRIVER_MEMORY) / slot.workers
    return math.ceil(max(found) * MARGIN + beside)


def _loaders(demand: TrialProfile, slot: Slot) -> int:
    """Loader processes of a worker, as `num_loader_workers` gives them to each loader: a fold has two of these."""
    usual = max(0, int(slot.cpus) - 1) if slot.gpus else 0
    return 2 * demand.folds * (usual if demand.loader_workers is None else demand.loader_workers)


def _memory_there(slot: Slot, nodes: Sequence[Node], drivers: int) -> int:
    """The most that a worker may ask for, so that no measurement refuses what runs."""
    able = [node.memory for node in nodes if workers_on(node, slot) >= 1]
    room = (max(able, default=math.inf) - drivers * DRIVER_MEMORY) / slot.workers
    return max(1, int(min(room, 2**60)))


def _default_gpus(resources: ResourcesConfig, nodes: Sequence[Node], measured: Measured) -> float:
    if not sum(node.gpus for node in nodes):
        return 0.0
    if resources.workers > 1:
        return 1.0  # NCCL refuses two workers of a trial on one GPU.
    return share_of_gpu(trials_on_a_gpu(nodes, measured, resources.cpus))


def share_of_gpu(together: int) -> float:
    """What each of so many trials asks for that share a GPU."""
    # Ray counts in ten thousandths: three times 0.3334 would be more than one GPU.
    return math.floor(1e4 / together) / 1e4


def trials_on_a_gpu(nodes: Sequence[Node], measured: Measured, cpus: float | None) -> int:
    """How many of the largest trials go well together on the smallest GPU: 1 where nothing was measured.

    As many as its memory holds, as there are CPUs for, and as are needed to keep it busy: processes that share a GPU
    take turns on it, so that nothing is gained once it never idles.
    """
    needs = [demand for demand in measured.demands if demand.gpu_memory is not None]
    if not needs or measured.gpu_memory is None or measured.failures:
        return 1
    by_memory = measured.gpu_memory / (MARGIN * max(demand.gpu_memory or 0 for demand in needs))
    with_gpus = [node for node in nodes if node.gpus > 0]
    by_cpu = min(node.cpus / node.gpus for node in with_gpus) / (cpus or CPUS_BESIDE)
    host = max(demand.memory for demand in needs) * MARGIN + max(DRIVER_MEMORY, measured.import_memory)
    by_host = min(node.memory / node.gpus for node in with_gpus) / host
    busiest = max(demand.gpu_busy or 1.0 for demand in needs)
    whole = min(MOST_ON_A_GPU, by_memory, by_cpu, by_host, math.ceil(1 / busiest - GAIN))
    return max(1, math.floor(whole))
