"""What trials take, measured on the connected cluster: once a run, each architecture by a small task of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict, ValidationError
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.files import write_atomically
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.errors import error_line
from tuning.training.profile import TrialProfile, heaviest_trials
from tuning.training.trial_data import TrialData
from tuning.trial.spec import Slot

SECONDS_TO_ANSWER = 120.0
"""From one answer to the next: on a cluster that is full, measuring would wait for the sweep that fills it."""


class Failure(BaseModel):
    """An architecture that could not be measured."""

    model_config = ConfigDict(frozen=True)

    arch: str
    reason: str
    too_large: bool = False
    """Not even one clip at a time fits onto the GPU."""


class Measured(BaseModel):
    """What the trials of a sweep take."""

    model_config = ConfigDict(frozen=True)

    demands: tuple[TrialProfile, ...] = ()
    """One for each architecture that could be measured."""
    failures: tuple[Failure, ...] = ()
    gpu_memory: int | None = None
    """Bytes of the cluster's smallest GPU."""
    import_seconds: float = 0.0
    """What a process takes to import what training needs."""
    import_memory: int = 0
    """Bytes that such a process then holds: as much as a trial's driver does."""
    seconds: float = 0.0
    """What measuring took."""

    @property
    def on_gpu(self) -> bool:
        """Whether it was measured on GPUs."""
        return any(demand.gpu_memory is not None for demand in self.demands)

    def of(self, arch: str) -> TrialProfile | None:
        """Of one architecture, if it could be measured."""
        return next((demand for demand in self.demands if demand.arch == arch), None)


def kept(file: Path, slot: Slot) -> Measured | None:
    """What was measured when the run began; None where that is missing, or was without the GPUs of now."""
    try:
        measured = Measured.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return measured if measured.demands and measured.on_gpu == (slot.gpus > 0) else None


def keep(measured: Measured, file: Path) -> None:
    """Write it whole or not at all.

    Raises:
        DataError: the file can't be written.
    """
    write_atomically(file, measured.model_dump_json(indent=1) + "\n")


def measure_trials(
    config: SweepConfig, data: TrialData, slot: Slot, meanwhile: Callable[[], None] = lambda: None
) -> Measured:
    """Measure the largest trial of each architecture, on nodes and with CPUs as trials have them; a GPU is a whole one.

    What can't be measured is among the failures: a sweep goes on without. `meanwhile` is called in this process, which
    would else only wait.
    """
    started = time.monotonic()
    resources: dict[str, Any] = {"num_cpus": slot.cpus, "num_gpus": float(slot.gpus > 0)}
    # A process of its own, which ends with the task: its peak is no other's, and its GPU is free for trials.
    task = ray.remote(max_calls=1, max_retries=0, **resources)(_measure_here)
    shared = ray.put(data)
    trials = heaviest_trials(config)
    asked = {task.remote(trial, shared, slot.cpus, slot.gpus > 0): trial for trial in trials}
    sizes = _ask_gpu_memory() if slot.gpus else []
    meanwhile()
    demands, failures, imports = list[TrialProfile](), list[Failure](), [(0.0, 0)]
    for ref, answer in _answers(list(asked)):
        if isinstance(answer, str):
            failures.append(Failure(arch=asked[ref].arch, reason=answer))
        elif "demand" in answer:
            demands.append(answer["demand"])
            imports.append(answer["imports"])
        else:
            failures.append(Failure(arch=asked[ref].arch, reason=answer["too_large"], too_large=True))
    in_order = sorted(demands, key=lambda demand: [trial.arch for trial in trials].index(demand.arch))
    found = [answer for _, answer in _answers(sizes) if isinstance(answer, int)]
    return Measured(
        demands=tuple(in_order),
        failures=tuple(failures),
        gpu_memory=min(found, default=None),
        import_seconds=max(seconds for seconds, _ in imports),
        import_memory=max(memory for _, memory in imports),
        seconds=time.monotonic() - started,
    )


def _answers(waiting: Sequence[ray.ObjectRef]) -> Iterator[tuple[ray.ObjectRef, Any]]:
    """Each task's answer as it comes, or in a line why there is none."""
    left = list(waiting)
    while left:
        done, left = ray.wait(left, num_returns=1, timeout=SECONDS_TO_ANSWER)
        if not done:
            for ref in left:
                ray.cancel(ref, force=True)
                yield ref, f"no answer within {SECONDS_TO_ANSWER:g} s: the cluster may be busy"
            return
        try:
            yield done[0], ray.get(done[0])
        except RayError as error:
            yield done[0], error_line(error, 200)


def _measure_here(trial: TrialConfig, data: TrialData, cpus: float, gpu: bool) -> dict[str, Any]:
    """Runs on a node, in a process of its own."""
    started = time.monotonic()
    import torch

    import tuning.trial.worker  # noqa: F401  As trials import it.
    from tuning.training.profile import current_memory, profile_trial

    imports = time.monotonic() - started, current_memory()
    device = torch.device("cuda", 0) if gpu else torch.device("cpu")
    try:
        demand = profile_trial(trial, data, device, int(cpus))
    except torch.OutOfMemoryError as error:
        return {"too_large": " ".join(str(error).split())[:200]}
    return {"demand": demand, "imports": imports}


def _ask_gpu_memory() -> list[ray.ObjectRef]:
    task: Callable[..., Any] = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(_smallest_gpu_here).options
    return [
        task(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("GPU", 0) > 0
    ]


def _smallest_gpu_here() -> int:
    import os

    # Ray hides GPUs from a task that takes none.
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    import torch

    return min(torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count()))
