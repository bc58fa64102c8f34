"""Profile the trials of a sweep on the connected cluster: once per run, one task per architecture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.files import write_atomically
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.errors import error_line
from tuning.training.heaviest import heaviest_trials
from tuning.training.profile import TrialProfile
from tuning.training.trial_data import TrialData
from tuning.trial.spec import Slot

PROFILE_TIMEOUT_SECONDS = 120.0
"""Limit from one result to the next: on a full cluster the tasks would wait for the sweep that fills it."""


class ProfileFailure(BaseModel):
    """An architecture that could not be profiled."""

    model_config = ConfigDict(frozen=True)

    arch: str
    reason: str
    too_large: bool = False
    """Not even one clip at a time fits into the GPU's memory."""


class SweepProfile(BaseModel):
    """What the trials of a sweep need; the run folder keeps it as `demand.json`."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    profiles: tuple[TrialProfile, ...] = Field((), alias="demands")
    """One per architecture that could be profiled."""
    failures: tuple[ProfileFailure, ...] = ()
    gpu_memory: int | None = None
    """Bytes of the cluster's smallest GPU."""
    import_seconds: float = 0.0
    """Time that a process takes to import what training needs."""
    import_memory: int = 0
    """Bytes that a process holds after these imports, as a trial's driver does."""
    seconds: float = 0.0
    """Time that profiling took."""

    @property
    def on_gpu(self) -> bool:
        """Whether the trials were profiled on GPUs."""
        return any(trial.gpu_memory is not None for trial in self.profiles)

    def find(self, arch: str) -> TrialProfile | None:
        """Return the profile of an architecture; None if it could not be profiled."""
        return next((trial for trial in self.profiles if trial.arch == arch), None)


def load_profile(file: Path, slot: Slot) -> SweepProfile | None:
    """Return the profile stored in a run folder; None if it is missing or was taken on another kind of device."""
    try:
        profile = SweepProfile.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return profile if profile.profiles and profile.on_gpu == (slot.gpus > 0) else None


def save_profile(profile: SweepProfile, file: Path) -> None:
    """Write a profile atomically.

    Raises:
        DataError: the file can't be written.
    """
    write_atomically(file, profile.model_dump_json(indent=1) + "\n")


def profile_trials(
    config: SweepConfig, data: TrialData, slot: Slot, meanwhile: Callable[[], None] = lambda: None
) -> SweepProfile:
    """Profile the largest trial of each architecture, with the CPUs of a trial and, if it takes any, a whole GPU.

    An architecture that can't be profiled is listed under `failures`; a sweep can run without its profile.

    Args:
        config: settings of the sweep.
        data: its clips.
        slot: resources of one trial.
        meanwhile: called in this process while the tasks run.
    """
    started = time.monotonic()
    resources: dict[str, Any] = {"num_cpus": slot.cpus, "num_gpus": float(slot.gpus > 0)}
    # `max_calls=1` gives each task a process of its own: its peak memory is its own, and its GPU is free afterwards.
    task = ray.remote(max_calls=1, max_retries=0, **resources)(_profile_on_node)
    shared_data = ray.put(data)
    trials = heaviest_trials(config)
    pending = {task.remote(trial, shared_data, slot.cpus, slot.gpus > 0): trial for trial in trials}
    gpu_sizes = _request_gpu_memory() if slot.gpus else []
    meanwhile()
    profiles, failures, imports = list[TrialProfile](), list[ProfileFailure](), [(0.0, 0)]
    for ref, result in _results(list(pending)):
        arch = pending[ref].arch
        if isinstance(result, str):
            failures.append(ProfileFailure(arch=arch, reason=result))
        elif "too_large" in result:
            failures.append(ProfileFailure(arch=arch, reason=result["too_large"], too_large=True))
        else:
            profiles.append(result["profile"])
            imports.append(result["imports"])
    order = [trial.arch for trial in trials]
    return SweepProfile(
        profiles=tuple(sorted(profiles, key=lambda profile: order.index(profile.arch))),
        failures=tuple(failures),
        gpu_memory=min((size for _, size in _results(gpu_sizes) if isinstance(size, int)), default=None),
        import_seconds=max(seconds for seconds, _ in imports),
        import_memory=max(memory for _, memory in imports),
        seconds=time.monotonic() - started,
    )


def _results(refs: Sequence[ray.ObjectRef]) -> Iterator[tuple[ray.ObjectRef, Any]]:
    """Yield each task's result when it is there, or one line on why the task has failed."""
    pending = list(refs)
    while pending:
        done, pending = ray.wait(pending, num_returns=1, timeout=PROFILE_TIMEOUT_SECONDS)
        if not done:
            for ref in pending:
                ray.cancel(ref, force=True)
                yield ref, f"no result within {PROFILE_TIMEOUT_SECONDS:g} s: the cluster may be busy"
            return
        try:
            yield done[0], ray.get(done[0])
        except RayError as error:
            yield done[0], error_line(error, 200)


def _profile_on_node(trial: TrialConfig, data: TrialData, cpus: float, gpu: bool) -> dict[str, Any]:
    """Profile a trial; runs on a node, in a process of its own."""
    started = time.monotonic()
    import torch

    import tuning.trial.worker  # noqa: F401  As trials import it.
    from tuning.training.process_memory import current_memory
    from tuning.training.profile import profile_trial

    imports = time.monotonic() - started, current_memory()
    device = torch.device("cuda", 0) if gpu else torch.device("cpu")
    try:
        profile = profile_trial(trial, data, device, int(cpus))
    except torch.OutOfMemoryError as error:
        return {"too_large": " ".join(str(error).split())[:200]}
    return {"profile": profile, "imports": imports}


def _request_gpu_memory() -> list[ray.ObjectRef]:
    task: Callable[..., Any] = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(_smallest_gpu_on_node).options
    return [
        task(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("GPU", 0) > 0
    ]


def _smallest_gpu_on_node() -> int:
    import os

    # Ray hides GPUs from a task that reserves none.
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    import torch

    return min(torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count()))
