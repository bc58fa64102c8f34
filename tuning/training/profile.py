"""What a trial takes of a machine, measured by training a few steps as its worker would; plain torch, without Ray.

It is to be called in a process of its own, which does nothing else: the peaks are the process's.
"""

from __future__ import annotations

import itertools
import multiprocessing
import re
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from data.loading.augment import Augment
from data.loading.loaders import BATCHES_AHEAD, Batch, EvalDataset, TrainDataset, eval_loader, train_loader
from data.loading.sampling import EpochSampler
from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES
from tuning.config.schema.space import TRAIN_PREFIX, LogRange
from tuning.config.schema.train import TrainConfig
from tuning.config.subspace import Subspace
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.epoch import predict, train_one_epoch
from tuning.training.fold import (
    FoldTraining,
    augmentation_settings,
    build_fold,
    configure_torch,
    initial_model,
    num_loader_workers,
)
from tuning.training.precision import choose_precision
from tuning.training.trial_data import FoldClips, TrialData

_T = TypeVar("_T")

_GPU_STEPS = 6
"""Of each epoch that is measured on a GPU."""


class TrialProfile(BaseModel):
    """What one worker of a trial takes, of the kind that takes most of its architecture."""

    model_config = ConfigDict(frozen=True)

    arch: str
    num_frames: int
    device: str
    """`cpu`, or the GPU's name."""
    at_once: int
    """Most clips at once that the settings ask for."""
    micro_batch: int
    """Most clips at once that the GPU's memory had room for."""
    memory: int
    """Peak bytes of the worker's process, all folds' models in it, apart from files that processes share."""
    folds: int
    """Models that it trains."""
    loader_memory: int
    """Bytes that each loader process adds."""
    loader_workers: int | None
    """Loader processes that `train.loader_workers` asks for."""
    gpu_memory: int | None = None
    """Peak bytes on the GPU, torch's own and the CUDA context's."""
    gpu_busy: float | None = None
    """Share of the time in which the GPU computes while one trial has it for itself; None where it can't be told."""
    train_seconds: float
    """Of a training clip."""
    val_seconds: float
    """Of a validation clip."""
    build_seconds: float
    """From the settings to the first step."""


def heaviest_trials(sweep: SweepConfig) -> list[TrialConfig]:
    """For each architecture the trial that takes most memory and time, as far as settings tell."""
    largest: dict[str, tuple[float, TrialConfig]] = {}
    for subspace in sweep.subspaces():
        load, trial = max(
            (_weighed(sweep, subspace, train) for train in sweep.train_configs(subspace)), key=lambda w: w[0]
        )
        if subspace.arch not in largest or load > largest[subspace.arch][0]:
            largest[subspace.arch] = load, trial
    return [trial for _, trial in largest.values()]


def _weighed(sweep: SweepConfig, subspace: Subspace, train: TrainConfig) -> tuple[float, TrialConfig]:
    """A subspace's largest trial of one way to train, and about how many numbers training keeps for it."""
    choice = {axis: _largest(values) for axis, values in subspace.axes.items() if not axis.startswith(TRAIN_PREFIX)}
    choice |= {"weights": "none", "sampler": "imbalanced", "loss": "plain", "lr": 1e-6}
    # Compiling takes minutes.
    uncompiled = train.model_copy(update={"compile": False})
    trial = TrialConfig.from_choice(sweep, choice).model_copy(update={"train": uncompiled})
    kept = trial.train.max_micro_batch * trial.num_frames * trial.train.size**2
    # Where a backbone is frozen, what it computes is not kept for the way back.
    trained = 1.0 if train.trainable == "all" or train.unfreeze_every else 0.2 if train.trainable == "head" else 0.5
    return kept * trained * (0.4 if train.checkpoint_activations else 1.0), trial


def _largest(values: Sequence[_T] | LogRange) -> _T | float:
    if isinstance(values, LogRange):
        return values.high
    numbers = [value for value in values if isinstance(value, int | float)]
    return max(numbers) if len(numbers) == len(values) else values[0]


def profile_trial(
    trial: TrialConfig, data: TrialData, device: torch.device, cpus: int, seconds: float = 3.0
) -> TrialProfile:
    """Train a few steps and validate a few clips.

    On a GPU that is full batches. On a CPU it is steps of 2, 4, 8 … clips, as far as they go in the time; from these it
    is told what a full one takes.

    Args:
        trial: as `heaviest_trials` has it.
        data: the sweep's clips, some of which are read.
        device: that it trains on.
        cpus: of the worker.
        seconds: about how long steps on a CPU may take.

    Raises:
        torch.OutOfMemoryError: not even one clip fits on the GPU.
    """
    started = time.monotonic()
    configure_torch(cpus)
    few = _few_clips(trial.train, data, device)
    few.store().fetch(few.digests(), progress=False)
    trainer = _Trainer(trial, few, device, cpus)
    built = time.monotonic() - started
    steps = _on_gpu(trainer) if device.type == "cuda" else _on_cpu(trainer, seconds)
    return TrialProfile(
        arch=trial.arch,
        num_frames=trial.num_frames,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        at_once=trial.train.max_micro_batch,
        micro_batch=steps.micro_batch,
        memory=steps.memory,
        folds=len(data.folds),
        loader_memory=trainer.loader_memory,
        loader_workers=trial.train.loader_workers,
        gpu_memory=steps.gpu_memory,
        gpu_busy=steps.gpu_busy,
        train_seconds=steps.train_seconds,
        val_seconds=steps.val_seconds,
        build_seconds=built,
    )


def _few_clips(train: TrainConfig, data: TrialData, device: torch.device) -> TrialData:
    """As many as are needed, again and again the same where there are fewer."""
    number = train.batch_size * (_GPU_STEPS if device.type == "cuda" else 1)
    rounds = tuple(
        FoldClips(
            train=tuple(itertools.islice(itertools.cycle(each.train), number)),
            val=tuple(itertools.islice(itertools.cycle(each.val), number)),
        )
        for each in data.folds
    )
    return data.model_copy(update={"folds": rounds})


@dataclass
class _Trainer:
    """The models of a trial, trained on as many clips as one likes."""

    trial: TrialConfig
    data: TrialData
    device: torch.device
    cpus: int
    members: list[FoldTraining] = field(init=False)
    loader_memory: int = 0

    def __post_init__(self) -> None:
        self.at_once = self.trial.train.max_micro_batch
        self.precision = choose_precision(self.trial.train.precision, self.device)
        self.loaders = num_loader_workers(self.trial.train, self.device, self.cpus)
        arch = ARCHITECTURES[self.trial.arch]
        self.normalise = Normalise(arch.mean, arch.std).to(self.device)
        self.augment = Augment(self.normalise, len(self.data.classes), augmentation_settings(self.trial.train))
        self.members = [
            build_fold(
                self.trial,
                self.data,
                fold,
                initial_model(self.trial, self.data, fold).to(self.device),
                device=self.device,
                precision=self.precision,
                loader_workers=self.loaders,
            )
            for fold in range(len(self.data.folds))
        ]

    def train(self, fold: int = 0) -> int:
        """An epoch over all of the few clips; the most clips at once that there was room for."""
        member = self.members[fold]
        # Where memory ran out, a trial too goes on with fewer.
        self.at_once = self._steps(member, self._watched(member.train_batches), self.at_once)
        return self.at_once

    def load(self) -> None:
        """All of the few clips, and train on none."""
        for _ in self._watched(self.members[0].train_batches):
            pass

    def validate(self) -> None:
        """All of the few clips."""
        member = self.members[0]
        predict(
            member.learner.eval_model, self.normalise, member.val_batches, device=self.device, precision=self.precision
        )

    def train_clips(self, clips: int, fold: int = 0) -> None:
        """One step of so many clips."""
        member, whole = self.members[fold], self.members[fold].train_batches.dataset
        assert isinstance(whole, TrainDataset)
        sampler = EpochSampler([clip.label for clip in whole.clips[:clips]], "imbalanced", seed=0)
        batches = train_loader(whole, sampler, batch_size=clips, workers=0, pin_memory=False)
        self._steps(member, batches, clips)

    def _steps(self, member: FoldTraining, batches: Iterable[Batch], at_once: int) -> int:
        # Where stages are unfrozen one by one, in the last epoch all train that ever do.
        epoch = self.trial.train.epochs
        done = train_one_epoch(member.learner, self.augment, batches, epoch=epoch, seed=0, micro_batch=at_once)
        return done.micro_batch

    def validate_clips(self, clips: int) -> None:
        """So many clips in one batch."""
        member, round_ = self.members[0], self.data.folds[0]
        whole = member.val_batches.dataset
        dataset = EvalDataset(
            round_.val[:clips],
            self.data.store(),
            selection=self.trial.frame_selection(),
            transform=whole.dataset.transform,  # type: ignore[attr-defined]
        )
        batches = eval_loader(dataset, batch_size=clips, workers=0, pin_memory=False)
        predict(member.learner.eval_model, self.normalise, batches, device=self.device, precision=self.precision)

    def _watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same; at their end it is seen what loader processes take."""
        yield from batches
        if self.loaders:
            size = self.trial.train.size
            ready = BATCHES_AHEAD * self.trial.train.batch_size * self.trial.num_frames * 3 * size**2
            own = [_own_memory(process.pid) for process in multiprocessing.active_children() if process.pid]
            self.loader_memory = max(self.loader_memory, ready + max(own, default=0))


@dataclass(frozen=True, slots=True)
class _Steps:
    """What steps took; as `TrialProfile` has it."""

    micro_batch: int
    memory: int
    train_seconds: float
    val_seconds: float
    gpu_memory: int | None = None
    gpu_busy: float | None = None


def _on_gpu(trainer: _Trainer) -> _Steps:
    micro_batches = [trainer.train(fold) for fold in range(len(trainer.members))]  # Loaders start, memory is found.
    train_seconds = _seconds(trainer.train)
    trainer.validate()
    val_seconds = _seconds(trainer.validate)
    clips = len(trainer.data.folds[0].train)
    free, total = torch.cuda.mem_get_info(trainer.device)
    # The context, and what other processes have on this GPU: torch's own count knows neither.
    beside = total - free - torch.cuda.memory_reserved(trainer.device)
    peak = torch.cuda.max_memory_reserved(trainer.device) + max(0, beside)
    computing = _computing_seconds(trainer)  # Last, since the profiler takes memory.
    return _Steps(
        micro_batch=min(micro_batches),
        memory=peak_memory(),
        train_seconds=train_seconds / clips,
        val_seconds=val_seconds / clips,
        gpu_memory=peak,
        gpu_busy=None if computing is None else min(1.0, computing / train_seconds),
    )


def _computing_seconds(trainer: _Trainer) -> float | None:
    """Seconds of an epoch in which the GPU computes; None where its counters may not be read."""
    try:
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            trainer.train()
        # Annotations span kernels that are events of their own.
        kernels = [event for event in profiled.key_averages() if not event.is_user_annotation]
        total = sum(e.self_device_time_total for e in kernels if e.device_type == DeviceType.CUDA) * 1e-6
    except (RuntimeError, AssertionError):  # No permission, or a torch built without the profiler of GPUs.
        return None
    return total or None


def _on_cpu(trainer: _Trainer, seconds: float) -> _Steps:
    most = trainer.trial.train.max_micro_batch
    deadline = time.monotonic() + seconds
    clips = min(2, most)
    for fold in range(len(trainer.members)):  # Each fold's moments of the gradients are there.
        trainer.train_clips(clips, fold)
    kept = [(each, _kept_for_the_way_back(trainer, each)) for each in sorted({1, clips})]
    times = list[tuple[int, float]]()
    while True:
        # The first step of a size also finds out how to compute it, and other processes may hold up any.
        took = min(_seconds(trainer.train_clips, clips) for _ in range(2))
        times.append((clips, took))
        larger = min(2 * clips, most)
        if clips == most or time.monotonic() + 2 * took * larger / clips > deadline:
            break
        clips = larger
    # Peaks of small steps would not do to draw a line: what was there before and is free hides them.
    memory = peak_memory() + round(_TRANSIENT * (_at(most, kept) - _at(clips, kept)))
    val_seconds = min(_seconds(trainer.validate_clips, clips) for _ in range(2))
    if trainer.loaders:
        trainer.load()
    # A step's own time, apart from its clips, weighs less the more clips there are, but times are noisy.
    a_clip = times[-1][1] / clips
    return _Steps(
        micro_batch=most,
        memory=memory,
        train_seconds=min(a_clip, max(a_clip / 2, _at(most, times) / most)),
        val_seconds=val_seconds / clips,
    )


_TRANSIENT = 1.25
"""Memory of a step over what its forward pass keeps: gradients come and go beside it."""


def _kept_for_the_way_back(trainer: _Trainer, clips: int) -> float:
    """Bytes that the forward pass of so many clips keeps."""
    found: dict[int, int] = {}

    def see(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        trainer.train_clips(clips)
    return float(sum(found.values()))


def _at(clips: int, found: Sequence[tuple[int, float]]) -> float:
    """A value at so many clips, on the line through the last two."""
    last_clips, last = found[-1]
    if clips <= last_clips or len(found) == 1:
        return last
    before_clips, before = found[-2]
    return last + (last - before) * (clips - last_clips) / (last_clips - before_clips)


def _seconds(work: Callable[..., object], *args: int) -> float:
    started = time.monotonic()
    work(*args)
    return time.monotonic() - started


def peak_memory() -> int:
    """Bytes that this process has held at most, apart from files, whose pages processes share."""
    found = _status()
    # What `getrusage` tells may be that of the process which started this one.
    return found["VmHWM"] - found["RssFile"] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current_memory() -> int:
    """Bytes that this process holds, apart from files."""
    found = _status()
    return found["VmRSS"] - found["RssFile"] if found else peak_memory()


def _status() -> dict[str, int]:
    """Bytes by Linux's names; empty on other systems."""
    try:
        lines = re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return {}
    found = {name: int(kb) * 1024 for name, kb in lines}
    return found if found.keys() >= {"VmHWM", "VmRSS", "RssFile"} else {}


def _own_memory(pid: int) -> int:
    """Bytes that a process shares with no other; 0 where that can't be told."""
    try:
        pages = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(kb) * 1024 for kb in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", pages, re.MULTILINE))
