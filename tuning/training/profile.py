"""Measure the memory and time that a trial needs, by training a few steps as its worker would.

Call `profile_trial` in a process of its own that does nothing else: it measures the peak memory of the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from tuning.config.trial_config import TrialConfig
from tuning.training.fold import configure_torch
from tuning.training.process_memory import peak_memory
from tuning.training.profile_trainer import ProfileTrainer, repeat_clips
from tuning.training.trial_data import TrialData

_GPU_STEPS = 6
"""Steps of each measured epoch on a GPU."""

_TRANSIENT = 1.25
"""Memory of a training step relative to the activations that its forward pass saves; gradients come on top."""


class TrialProfile(BaseModel):
    """What one worker of an architecture's heaviest trial needs."""

    model_config = ConfigDict(frozen=True)

    arch: str
    num_frames: int
    device: str
    """`cpu`, or the GPU's name."""
    at_once: int
    """Requested number of clips per forward pass."""
    micro_batch: int
    """Number of clips per forward pass that fitted into the GPU's memory."""
    memory: int
    """Peak bytes of the worker's process with all folds' models, without the pages of files, which processes share."""
    folds: int
    """Number of models."""
    loader_memory: int
    """Bytes that each loader process adds."""
    loader_workers: int | None
    """The setting `train.loader_workers`."""
    gpu_memory: int | None = None
    """Peak bytes on the GPU, including the CUDA context."""
    gpu_busy: float | None = None
    """Share of time in which the GPU computes if the trial has it alone; None if it cannot be measured."""
    train_seconds: float
    """Seconds per training clip."""
    val_seconds: float
    """Seconds per validation clip."""
    build_seconds: float
    """Seconds before the first step."""


def profile_trial(
    trial: TrialConfig, data: TrialData, device: torch.device, cpus: int, seconds: float = 3.0
) -> TrialProfile:
    """Train a few steps and validate a few clips.

    On a GPU, steps have full batches. On a CPU, steps have 2, 4, 8 … clips as long as time allows, and a full batch is
    extrapolated.

    Args:
        trial: a trial from `heaviest_trials`.
        data: the sweep's clips, of which some are read.
        device: the device to train on.
        cpus: CPUs of the worker.
        seconds: approximate time limit of the steps on a CPU.

    Raises:
        torch.OutOfMemoryError: a single clip does not fit into the GPU's memory.
    """
    started = time.monotonic()
    configure_torch(cpus)
    few = repeat_clips(data, trial.train.batch_size * (_GPU_STEPS if device.type == "cuda" else 1))
    few.store().fetch(few.digests(), progress=False)
    trainer = ProfileTrainer(trial, few, device, cpus)
    build_seconds = time.monotonic() - started
    measured = _measure_on_gpu(trainer) if device.type == "cuda" else _measure_on_cpu(trainer, seconds)
    return TrialProfile(
        arch=trial.arch,
        num_frames=trial.num_frames,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        at_once=trial.train.max_micro_batch,
        micro_batch=measured.micro_batch,
        memory=measured.memory,
        folds=len(data.folds),
        loader_memory=trainer.loader_memory,
        loader_workers=trial.train.loader_workers,
        gpu_memory=measured.gpu_memory,
        gpu_busy=measured.gpu_busy,
        train_seconds=measured.train_seconds,
        val_seconds=measured.val_seconds,
        build_seconds=build_seconds,
    )


@dataclass(frozen=True, slots=True)
class _Measurement:
    """Fields of a `TrialProfile` that are measured during the steps."""

    micro_batch: int
    memory: int
    train_seconds: float
    val_seconds: float
    gpu_memory: int | None = None
    gpu_busy: float | None = None


def _measure_on_gpu(trainer: ProfileTrainer) -> _Measurement:
    # The first epoch starts the loaders and allocates memory.
    micro_batches = [trainer.train(fold) for fold in range(len(trainer.folds))]
    train_seconds = _duration(trainer.train)
    trainer.validate()
    val_seconds = _duration(trainer.validate)
    clips = len(trainer.data.folds[0].train)
    free, total = torch.cuda.mem_get_info(trainer.device)
    # The CUDA context and other processes on this GPU; torch's own counters include neither.
    outside_torch = total - free - torch.cuda.memory_reserved(trainer.device)
    gpu_memory = torch.cuda.max_memory_reserved(trainer.device) + max(0, outside_torch)
    kernel_seconds = _kernel_seconds(trainer)  # Last, since the profiler itself uses memory.
    return _Measurement(
        micro_batch=min(micro_batches),
        memory=peak_memory(),
        train_seconds=train_seconds / clips,
        val_seconds=val_seconds / clips,
        gpu_memory=gpu_memory,
        gpu_busy=None if kernel_seconds is None else min(1.0, kernel_seconds / train_seconds),
    )


def _kernel_seconds(trainer: ProfileTrainer) -> float | None:
    """Return the seconds of an epoch in which the GPU runs kernels; None if its counters cannot be read."""
    try:
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            trainer.train()
        # Annotations cover kernels, which are events of their own.
        kernels = [event for event in profiled.key_averages() if not event.is_user_annotation]
        total = sum(e.self_device_time_total for e in kernels if e.device_type == DeviceType.CUDA) * 1e-6
    except (RuntimeError, AssertionError):  # No permission, or torch was built without the GPU profiler.
        return None
    return total or None


def _measure_on_cpu(trainer: ProfileTrainer, seconds: float) -> _Measurement:
    full = trainer.trial.train.max_micro_batch
    deadline = time.monotonic() + seconds
    clips = min(2, full)
    for fold in range(len(trainer.folds)):  # Creates gradients and the optimizer's moments of each fold.
        trainer.train_clips(clips, fold)
    saved = [(number, _saved_activations(trainer, number)) for number in sorted({1, clips})]
    times = list[tuple[int, float]]()
    while True:
        # The minimum of two: the first step of a size also chooses kernels, and other processes can delay any step.
        step_seconds = min(_duration(trainer.train_clips, clips) for _ in range(2))
        times.append((clips, step_seconds))
        larger = min(2 * clips, full)
        if clips == full or time.monotonic() + 2 * step_seconds * larger / clips > deadline:
            break
        clips = larger
    # Peaks of small steps cannot be extrapolated: memory that was allocated before and is free hides them.
    memory = peak_memory() + round(_TRANSIENT * (_extrapolate(full, saved) - _extrapolate(clips, saved)))
    val_seconds = min(_duration(trainer.validate_clips, clips) for _ in range(2))
    if trainer.loader_workers:
        trainer.load()
    # The fixed cost of a step weighs less with more clips, but times are noisy: at least half the largest step's.
    seconds_per_clip = times[-1][1] / clips
    return _Measurement(
        micro_batch=full,
        memory=memory,
        train_seconds=min(seconds_per_clip, max(seconds_per_clip / 2, _extrapolate(full, times) / full)),
        val_seconds=val_seconds / clips,
    )


def _saved_activations(trainer: ProfileTrainer, clips: int) -> float:
    """Return the bytes that the forward pass of `clips` clips saves for the backward pass."""
    sizes: dict[int, int] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        trainer.train_clips(clips)
    return float(sum(sizes.values()))


def _extrapolate(clips: int, points: Sequence[tuple[int, float]]) -> float:
    """Return the value at `clips` clips on the line through the last two points; the last value below that."""
    last_clips, last = points[-1]
    if clips <= last_clips or len(points) == 1:
        return last
    previous_clips, previous = points[-2]
    return last + (last - previous) * (clips - last_clips) / (last_clips - previous_clips)


def _duration(function: Callable[..., object], *args: int) -> float:
    started = time.monotonic()
    function(*args)
    return time.monotonic() - started
