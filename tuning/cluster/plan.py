"""How a sweep is going to use the cluster: trials at once, the time they will take at most, and what will idle."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuning.cluster.placement import Node, limits, needed_memory, plan_slots, share_of_gpu, trials_that_fit, workers_on
from tuning.cluster.profile_task import Measured
from tuning.config.sweep_config import SweepConfig
from tuning.training.trial_data import TrialData
from tuning.trial.spec import Slot

_PROCESSES = 2
"""That the first trial of each place starts one after another, with imports of their own: driver and worker."""
_EPOCH_SECONDS = 0.5
"""About what an epoch's checkpoint and report take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep will do."""

    slot: Slot
    at_once: int
    trials: int
    """Of the search."""
    finalists: int
    """Trials of the finals, after the search."""
    nodes: tuple[tuple[str, int], ...]
    """Addresses of the nodes that have room, and for how many workers."""
    seconds: float | None
    """At most, by what was measured; None where an architecture could not be measured."""
    ends_early: bool
    """Some trials may be stopped before they have all their epochs."""
    warnings: tuple[str, ...]

    def text(self) -> str:
        """Some lines to read before the sweep starts."""
        finals = f", then {self.finalists} of finalists" if self.finalists else ""
        lines = [
            f"plan: {self.trials} trials{finals}, {min(self.at_once, self.trials)} at once on {self._where()}",
            f"      each trial takes {self.slot.summary}",
        ]
        if self.seconds is not None:
            sooner = ", less where trials are stopped early" if self.ends_early else ""
            lines.append(f"      estimate: at most about {spoken(self.seconds)}{sooner}")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _where(self) -> str:
        if not self.nodes:
            return "nodes yet to come"
        shown = ", ".join(f"{address or 'node'} ({workers})" for address, workers in self.nodes[:4])
        more = f" and {len(self.nodes) - 4} more" if len(self.nodes) > 4 else ""
        return f"{len(self.nodes)} node(s) with room for workers: {shown}{more}"


def make_plan(config: SweepConfig, data: TrialData, measured: Measured, nodes: Sequence[Node]) -> Plan:
    """What the sweep will do on these nodes.

    Raises:
        ClusterError: not one trial fits.
    """
    slot, at_once = plan_slots(config.resources, nodes, measured)
    trials = config.search.trials or len(config.choices() or ())
    finals = config.search.finalists
    plan = Plan(
        slot=slot,
        at_once=at_once,
        trials=trials,
        finalists=finals.top * finals.seeds if finals else 0,
        nodes=tuple((node.address, room) for node in nodes if (room := workers_on(node, slot))),
        seconds=_expected_seconds(config, data, measured, slot, at_once, trials),
        ends_early=any((config.search.asha, config.train.patience)),
        warnings=tuple(_warnings(config, measured, nodes, slot, at_once, trials)),
    )
    return plan


def spoken(seconds: float) -> str:
    """A time in words, as exactly as an estimate can be."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds / 10)) * 10} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(math.ceil(minutes / 10) * 10, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def _expected_seconds(
    config: SweepConfig, data: TrialData, measured: Measured, slot: Slot, at_once: int, trials: int
) -> float | None:
    kinds = _kinds(config, trials)
    times = {kind: _trial_seconds(config, data, measured, slot, *kind) for kind in set(kinds)}
    each = [seconds for kind in kinds if (seconds := times[kind]) is not None]
    if len(each) < len(kinds):
        return None
    start = _PROCESSES * measured.import_seconds
    total = start + _in_turn(each, at_once)
    if config.search.finalists is not None:
        finals = config.search.finalists
        total += start + _in_turn([max(each)] * min(finals.top, trials) * finals.seeds, at_once)
    return total


def _kinds(config: SweepConfig, trials: int) -> list[tuple[str, int]]:
    """Architecture and frame count of each trial, in order; where a search draws them, of each kind as many."""
    listed = config.choices() if config.search.trials is None else None
    if listed is not None:
        return [(choice["arch"], choice["num_frames"]) for choice in listed]
    drawn = [(space.arch, count) for space in config.subspaces() for count in space.values("num_frames")]
    return list(itertools.islice(itertools.cycle(drawn), trials))


def _trial_seconds(
    config: SweepConfig, data: TrialData, measured: Measured, slot: Slot, arch: str, num_frames: int
) -> float | None:
    """Of a trial that has all its epochs; computing is as good as proportional to frames."""
    demand = measured.of(arch)
    if demand is None:
        return None
    train, val = sum(len(each.train) for each in data.folds), sum(len(each.val) for each in data.folds)
    clips = (train * demand.train_seconds + val * demand.val_seconds) * num_frames / demand.num_frames
    # Trials that share a GPU take turns on it.
    turns = max(1.0, (demand.gpu_busy or 1.0) * math.floor(1 / slot.gpus)) if 0 < slot.gpus < 1 else 1.0
    return demand.build_seconds + config.train.epochs * (_EPOCH_SECONDS + clips * turns / slot.workers)


def _in_turn(seconds: Sequence[float], at_once: int) -> float:
    """When the last one ends, if each starts as soon as there is room for it."""
    ends = [0.0] * min(at_once, len(seconds))
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _warnings(
    config: SweepConfig, measured: Measured, nodes: Sequence[Node], slot: Slot, at_once: int, trials: int
) -> Iterator[str]:
    yield from _models_too_large(measured)
    yield from _memory_short(config, measured, slot)
    fitting = trials_that_fit(slot, nodes)
    limit = config.resources.max_concurrent
    if limit is not None and limit < min(fitting, trials):
        yield f"resources.max_concurrent is {limit}, but {fitting} trials would fit: raise it or leave it out"
    elif trials < min(fitting, at_once):
        yield (
            f"{trials} trial(s) leave {fitting - trials} of {fitting} places empty: {_fewer_mend(slot, nodes, trials)}"
        )
    elif limit is None or limit >= fitting:
        yield from _left_over(nodes, slot)
    if slot.gpus:
        yield from _gpus_idle(nodes, slot)


def _fewer_mend(slot: Slot, nodes: Sequence[Node], trials: int) -> str:
    if slot.gpus and slot.gpus < 1:
        return "resources.gpus=1 gives each a GPU of its own, or try more values"
    if slot.gpus:
        workers = trials_that_fit(slot, nodes) * slot.workers // trials
        spread = f"resources.workers={workers} gives each trial more GPUs, or " if workers > slot.workers else ""
        return f"{spread}try more values"
    cpus = _cpus_for(nodes, slot, trials)
    return f"resources.cpus={cpus} gives each more CPUs, or try more values" if cpus > slot.cpus else "try more values"


def _cpus_for(nodes: Sequence[Node], slot: Slot, trials: int) -> int:
    """The most CPUs a worker with which so many trials still run at once."""

    def fit(cpus: int) -> bool:
        return trials_that_fit(slot.model_copy(update={"cpus": float(cpus)}), nodes) >= trials

    return next(filter(fit, range(int(max(node.cpus for node in nodes)), 0, -1)), 1)


def _left_over(nodes: Sequence[Node], slot: Slot) -> Iterator[str]:
    """What each node keeps beside the workers it has room for."""
    places = sum(workers_on(node, slot) for node in nodes)
    if places % slot.workers:
        yield (
            f"{places % slot.workers} of {places} places for workers stay empty: a trial takes "
            f"resources.workers={slot.workers}"
        )
    if slot.gpus:
        return
    short = [node for node in nodes if limits(node, slot).get("memory", math.inf) < limits(node, slot)["CPUs"]]
    idle = sum(node.cpus - workers_on(node, slot) * slot.cpus for node in nodes)
    if idle < max(2.0, 0.25 * sum(node.cpus for node in nodes)):
        return
    if short:
        assert slot.memory is not None
        yield (
            f"{idle:g} CPUs stay idle, since memory runs out first ({slot.memory / 1e9:.2g} GB a worker): set "
            f"a smaller train.micro_batch, or resources.cpus above {slot.cpus:g} to use them"
        )
    else:
        yield f"{idle:g} CPUs stay idle: resources.cpus={slot.cpus:g} does not divide the CPUs of the nodes"


def _gpus_idle(nodes: Sequence[Node], slot: Slot) -> Iterator[str]:
    with_gpus = [node for node in nodes if node.gpus > 0]
    for what, runs, setting in (("CPUs", "run", "resources.cpus"), ("memory", "runs", "resources.memory")):
        found = [limits(node, slot) for node in with_gpus]
        idle = sum(max(0, room["GPUs"] - room.get(what, room["GPUs"])) * slot.gpus for room in found)
        if idle:
            yield f"{idle:g} GPU(s) stay idle, since {what} {runs} out first: lower {setting} ({_asked(what, slot)})"
    together = math.floor(1 / slot.gpus)
    if slot.gpus < 1 and 1 - slot.gpus * together > 0.01:
        yield (
            f"{1 - slot.gpus * together:.2g} of each GPU stays idle: resources.gpus={slot.gpus:g} fits {together} "
            f"time(s) on one; {share_of_gpu(together):g} gives each trial all there is"
        )
    if slot.gpus > 1:
        yield (
            f"resources.gpus is {slot.gpus:g}, but a worker trains on one GPU: set resources.workers={slot.gpus:g} and "
            "resources.gpus=1"
        )
        whole = sum(node.gpus % slot.gpus for node in with_gpus)
        if whole:
            yield f"{whole:g} GPU(s) stay idle: resources.gpus={slot.gpus:g} does not divide the GPUs of each node"
    without = [node for node in nodes if not node.gpus and node.cpus]
    cpus = sum(node.cpus for node in without)
    if cpus > 0.2 * sum(node.cpus for node in nodes):
        yield (
            f"{len(without)} node(s) without GPU, {cpus:g} CPUs in all, stay idle: trials take GPUs here; a second "
            "sweep with resources.gpus=0 could use them"
        )


def _asked(what: str, slot: Slot) -> str:
    return f"{slot.cpus:g} a worker" if what == "CPUs" else f"{(slot.memory or 0) / 1e9:.2g} GB a worker"


def _models_too_large(measured: Measured) -> Iterator[str]:
    for demand in measured.demands:
        if demand.micro_batch < demand.at_once:
            yield (
                f"{demand.arch} at {demand.num_frames} frames has room on the GPU for {demand.micro_batch} clips at "
                f"once, not {demand.at_once}: trials halve by themselves, or set train.micro_batch={demand.micro_batch}"
            )
    for failure in measured.failures:
        if failure.too_large:
            yield (
                f"not one clip at a time of {failure.arch} fits onto the GPU: lower space.num_frames or train.size, or "
                "set train.checkpoint_activations"
            )


def _memory_short(config: SweepConfig, measured: Measured, slot: Slot) -> Iterator[str]:
    needed = needed_memory(measured, slot)
    if needed is not None and slot.memory is not None and slot.memory < needed:
        what = "resources.memory is" if config.resources.memory is not None else "the largest node has room for"
        yield (
            f"{what} {slot.memory / 1e9:.2g} GB a worker, but {needed / 1e9:.2g} GB were measured: trials may run out "
            "of memory; lower train.batch_size or set train.micro_batch"
        )
