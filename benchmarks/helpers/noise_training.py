"""Learners of any architecture, and clips of noise to train them on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from data.loading.augment import Augment, AugmentSettings
from data.loading.frame_selection import FrameSelection
from data.loading.loaders import Batch, TrainDataset, train_loader
from data.loading.sampling import EpochSampler
from data.loading.transforms import Normalise, TrainTransform
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.store.noise import write_noise
from data.video.decode import DecodeSettings
from models.registry import build_model, get_architecture
from tuning.config.schema.train import TrainConfig
from tuning.training.epoch import train_one_epoch
from tuning.training.learner import Learner, build_learner

CLASSES = 22
_CLIPS = 64
"""Number of different clips in a store of noise."""


@dataclass(frozen=True)
class Workload:
    """What is trained: an architecture, the size of its clips, and the batch size."""

    arch: str
    frames: int
    size: int
    batch: int

    @property
    def clip(self) -> str:
        """Frames and size as text, such as `8 × 224²`."""
        return f"{self.frames} × {self.size}²"


def choose_workload(arch: str, batch: int, frames: int | None = None, size: int | None = None) -> Workload:
    """Return an architecture with its default clips, or with the smallest legal ones of at least `frames`, `size`."""
    known = get_architecture(arch)
    return Workload(
        arch,
        known.default_input[0] if frames is None else next(each for each in known.frame_counts if each >= frames),
        known.default_input[1] if size is None else next(each for each in known.sizes if each >= size),
        batch,
    )


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the number of CPU threads."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"


def noise_learner(
    workload: Workload, device: torch.device, precision: str, *, channels_last: bool = True, **train: Any
) -> Learner:
    """Return a learner like a trial's, with random weights.

    Args:
        workload: architecture, clips and batch size.
        device: where it trains.
        precision: `fp32`, `bf16` or `fp16`.
        channels_last: keep the learner's memory format; False for PyTorch's own.
        train: more settings of `TrainConfig`.
    """
    torch.manual_seed(0)
    model = build_model(workload.arch, {}, num_classes=CLASSES, num_frames=workload.frames, size=workload.size).to(
        device
    )
    config = TrainConfig(epochs=1000, size=workload.size, batch_size=workload.batch, **train)
    stages = get_architecture(workload.arch).stages
    learner = build_learner(model, 1e-4, config, stages=stages, steps_per_epoch=1, device=device, precision=precision)
    if not channels_last:
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()
    return learner


def noise_augment(workload: Workload, device: torch.device, augmentation: AugmentSettings | None = None) -> Augment:
    """Return what a trial does with a batch on the device: normalise it, and augment it with `augmentation`."""
    arch = get_architecture(workload.arch)
    return Augment(Normalise(arch.mean, arch.std).to(device), CLASSES, augmentation or AugmentSettings())


def resident_batch(workload: Workload, device: torch.device) -> Batch:
    """Return a batch of noise in the device's memory."""
    shape = (workload.batch, workload.frames, 3, workload.size, workload.size)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8)
    return Batch(frames.to(device), (torch.arange(workload.batch) % CLASSES).to(device), ["x"] * workload.batch)


def noise_batches(
    workload: Workload, folder: Path, *, steps: int, workers: int, device: torch.device
) -> DataLoader[Any]:
    """Return a trial's loader over an epoch of `steps` batches, from a frame store of noise in this folder."""
    store = FrameStore(folder, DecodeSettings(frames=workload.frames, short_side=workload.size))
    clips = noise_clips(store, workload)
    drawn = [clips[number % len(clips)] for number in range(steps * workload.batch)]
    selection, crop = FrameSelection(workload.frames), TrainTransform(workload.size)
    return train_loader(
        TrainDataset(drawn, store, selection=selection, transform=crop, seed=0),
        EpochSampler([clip.label for clip in drawn], "imbalanced", seed=0),
        batch_size=workload.batch,
        workers=workers,
        pin_memory=device.type == "cuda",
    )


def noise_clips(store: FrameStore, workload: Workload) -> list[LabelledFrames]:
    """Return clips of noise; those that the store lacks are added to it."""
    digests = write_noise(store, _CLIPS, workload.size * 4 // 3, workload.size)
    return [LabelledFrames(f"{number}.mp4", digest, number % CLASSES) for number, digest in enumerate(digests)]


@dataclass
class Clock:
    """Measures the seconds of an epoch without its first steps, with all pending work finished at both ends.

    On a CPU it measures CPU time, so that other work on the machine matters less.
    """

    device: torch.device
    seconds: float = 0.0

    def start_after_warmup(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches and start the clock before the first one that counts."""
        for number, batch in enumerate(batches):
            if number == warmup_steps(self.device):
                self.start()
            yield batch

    def start(self) -> None:
        """Start after all pending work."""
        self.seconds = -self._now()

    def stop(self) -> None:
        """Stop after all pending work."""
        self.seconds += self._now()

    def _now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def warmup_steps(device: torch.device) -> int:
    """Return the number of first steps that don't count: they allocate memory and start workers."""
    return 3 if device.type == "cuda" else 1


def train_timed(learner: Learner, augment: Augment, batches: Iterable[Batch], clock: Clock) -> int:
    """Train for an epoch and time it.

    Returns:
        The largest number of clips that were computed together: the batch size, or less if memory ran out.
    """
    batch_size = learner.train.batch_size
    counted = clock.start_after_warmup(batches)
    totals = train_one_epoch(learner, augment, counted, epoch=1, seed=0, micro_batch=batch_size)
    clock.stop()
    return totals.micro_batch
