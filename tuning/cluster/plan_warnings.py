"""Warn of resources that a sweep leaves idle and of memory that it lacks, each with the setting to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tuning.cluster.placement import (
    NodeResources,
    count_fitting_trials,
    count_workers,
    gpu_fraction,
    needed_memory,
    workers_by_resource,
)
from tuning.cluster.profile_task import SweepProfile
from tuning.config.sweep_config import SweepConfig
from tuning.trial.spec import Slot


def plan_warnings(
    config: SweepConfig,
    profile: SweepProfile,
    nodes: Sequence[NodeResources],
    slot: Slot,
    *,
    max_concurrent: int,
    trials: int,
) -> tuple[str, ...]:
    """Return the warnings of a plan, most important first."""
    return (
        *_models_too_large(profile),
        *_memory_too_small(config, profile, slot),
        *_slots_idle(config, nodes, slot, max_concurrent, trials),
        *(_gpus_idle(nodes, slot) if slot.gpus else ()),
    )


def _models_too_large(profile: SweepProfile) -> Iterator[str]:
    for trial in profile.profiles:
        if trial.micro_batch < trial.at_once:
            yield (
                f"{trial.arch} at {trial.num_frames} frames: {trial.micro_batch} clips at a time fit into the GPU's "
                f"memory, not {trial.at_once}; trials halve the number themselves, or set "
                f"train.micro_batch={trial.micro_batch}"
            )
    for failure in profile.failures:
        if failure.too_large:
            yield (
                f"{failure.arch}: not even one clip at a time fits into the GPU's memory; lower space.num_frames or "
                "train.size, or set train.checkpoint_activations"
            )


def _memory_too_small(config: SweepConfig, profile: SweepProfile, slot: Slot) -> Iterator[str]:
    needed = needed_memory(profile, slot)
    if needed is not None and slot.memory is not None and slot.memory < needed:
        available = "resources.memory is" if config.resources.memory is not None else "the largest node has only"
        yield (
            f"{available} {slot.memory / 1e9:.2g} GB per worker, but {needed / 1e9:.2g} GB were profiled: trials may "
            "run out of memory; lower train.batch_size or set train.micro_batch"
        )


def _slots_idle(
    config: SweepConfig, nodes: Sequence[NodeResources], slot: Slot, max_concurrent: int, trials: int
) -> Iterator[str]:
    fitting = count_fitting_trials(slot, nodes)
    limit = config.resources.max_concurrent
    if limit is not None and limit < min(fitting, trials):
        yield f"resources.max_concurrent is {limit}, but {fitting} trials would fit: raise it or leave it out"
    elif trials < min(fitting, max_concurrent):
        yield (
            f"{trials} trial(s) leave {fitting - trials} of {fitting} slots empty: "
            f"{_advice_for_few_trials(slot, nodes, trials)}"
        )
    elif limit is None or limit >= fitting:
        yield from _remainders_idle(nodes, slot)


def _advice_for_few_trials(slot: Slot, nodes: Sequence[NodeResources], trials: int) -> str:
    if slot.gpus and slot.gpus < 1:
        return "resources.gpus=1 gives each trial a whole GPU, or try more values"
    if slot.gpus:
        workers = count_fitting_trials(slot, nodes) * slot.workers // trials
        spread = f"resources.workers={workers} gives each trial more GPUs, or " if workers > slot.workers else ""
        return f"{spread}try more values"
    cpus = _most_cpus_for(nodes, slot, trials)
    return f"resources.cpus={cpus} gives each more CPUs, or try more values" if cpus > slot.cpus else "try more values"


def _most_cpus_for(nodes: Sequence[NodeResources], slot: Slot, trials: int) -> int:
    """Return the most CPUs per worker with which `trials` trials still fit concurrently."""

    def fit(cpus: int) -> bool:
        return count_fitting_trials(slot.model_copy(update={"cpus": float(cpus)}), nodes) >= trials

    return next(filter(fit, range(int(max(node.cpus for node in nodes)), 0, -1)), 1)


def _remainders_idle(nodes: Sequence[NodeResources], slot: Slot) -> Iterator[str]:
    """Warn of what is left on the nodes after as many workers as fit."""
    workers = sum(count_workers(node, slot) for node in nodes)
    if workers % slot.workers:
        yield (
            f"slots for {workers % slot.workers} of {workers} workers stay empty: a trial takes "
            f"resources.workers={slot.workers}"
        )
    if slot.gpus:
        return
    idle = sum(node.cpus - count_workers(node, slot) * slot.cpus for node in nodes)
    if idle < max(2.0, 0.25 * sum(node.cpus for node in nodes)):
        return
    by_resource = [workers_by_resource(node, slot) for node in nodes]
    if any(counts.get("memory", math.inf) < counts["CPUs"] for counts in by_resource):
        assert slot.memory is not None
        yield (
            f"{idle:g} CPUs stay idle, since memory runs out first ({slot.memory / 1e9:.2g} GB per worker): set a "
            f"smaller train.micro_batch, or resources.cpus above {slot.cpus:g} to use them"
        )
    else:
        yield f"{idle:g} CPUs stay idle: resources.cpus={slot.cpus:g} does not divide the CPUs of the nodes"


def _gpus_idle(nodes: Sequence[NodeResources], slot: Slot) -> Iterator[str]:
    gpu_nodes = [node for node in nodes if node.gpus > 0]
    yield from _gpus_without_other_resources(gpu_nodes, slot)
    per_gpu = math.floor(1 / slot.gpus)
    if slot.gpus < 1 and 1 - slot.gpus * per_gpu > 0.01:
        yield (
            f"{1 - slot.gpus * per_gpu:.2g} of each GPU stays idle: resources.gpus={slot.gpus:g} fits {per_gpu} "
            f"time(s) on one; resources.gpus={gpu_fraction(per_gpu):g} uses all of it"
        )
    if slot.gpus > 1:
        yield (
            f"resources.gpus is {slot.gpus:g}, but a worker trains on one GPU: set resources.workers={slot.gpus:g} and "
            "resources.gpus=1"
        )
        remainder = sum(node.gpus % slot.gpus for node in gpu_nodes)
        if remainder:
            yield f"{remainder:g} GPU(s) stay idle: resources.gpus={slot.gpus:g} does not divide the GPUs of each node"
    yield from _nodes_without_gpu(nodes)


def _gpus_without_other_resources(gpu_nodes: Sequence[NodeResources], slot: Slot) -> Iterator[str]:
    by_node = [workers_by_resource(node, slot) for node in gpu_nodes]
    for resource, runs, setting, amount in (
        ("CPUs", "run", "resources.cpus", f"{slot.cpus:g} per worker"),
        ("memory", "runs", "resources.memory", f"{(slot.memory or 0) / 1e9:.2g} GB per worker"),
    ):
        idle = sum(max(0, counts["GPUs"] - counts.get(resource, counts["GPUs"])) * slot.gpus for counts in by_node)
        if idle:
            yield f"{idle:g} GPU(s) stay idle, since {resource} {runs} out first: lower {setting} ({amount})"


def _nodes_without_gpu(nodes: Sequence[NodeResources]) -> Iterator[str]:
    without = [node for node in nodes if not node.gpus and node.cpus]
    cpus = sum(node.cpus for node in without)
    if cpus > 0.2 * sum(node.cpus for node in nodes):
        yield (
            f"{len(without)} node(s) without GPU, {cpus:g} CPUs in all, stay idle, since trials take GPUs: a second "
            "sweep with resources.gpus=0 could use them"
        )
