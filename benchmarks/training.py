"""What the benchmarks of training share: learners of any architecture, and clips of noise to train them on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from data.loading.augment import Augment, AugmentSettings
from data.loading.frame_selection import FrameSelection
from data.loading.loaders import Batch, TrainDataset, train_loader
from data.loading.sampling import EpochSampler
from data.loading.transforms import Normalise, TrainTransform
from data.store.build_report import LabelledFrames
from data.store.entry_folder import EntryFolder
from data.store.frame_store import FrameStore
from data.video.decode import ClipFacts, DecodeSettings
from models.registry import build_model, get_architecture
from tuning.config.schema.train import TrainConfig
from tuning.training.epoch import train_one_epoch
from tuning.training.learner import Learner, build_learner

CLASSES = 22
_CLIPS = 64
"""Different ones in a store of noise."""


@dataclass(frozen=True)
class Setting:
    """What a learner is trained on."""

    arch: str
    frames: int
    size: int
    batch: int

    @property
    def clip(self) -> str:
        """Frames and size in words."""
        return f"{self.frames} × {self.size}²"


def setting(arch: str, batch: int, frames: int | None = None, size: int | None = None) -> Setting:
    """An architecture at its default clips, or at the smallest legal ones that are no smaller than asked for."""
    known = get_architecture(arch)
    return Setting(
        arch,
        known.default_input[0] if frames is None else next(each for each in known.frame_counts if each >= frames),
        known.default_input[1] if size is None else next(each for each in known.sizes if each >= size),
        batch,
    )


def device_at_hand() -> torch.device:
    """The GPU, or else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """What to write above a table."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"


def noise_learner(
    of: Setting, device: torch.device, precision: str, *, channels_last: bool = True, **train: Any
) -> Learner:
    """A learner as a trial has it.

    Args:
        of: architecture, clips and batches.
        device: where it trains.
        precision: `fp32` or `bf16`.
        channels_last: as learners have it; else weights are laid out as torch has them.
        train: further settings of `TrainConfig`.
    """
    torch.manual_seed(0)
    model = build_model(of.arch, {}, num_classes=CLASSES, num_frames=of.frames, size=of.size).to(device)
    config = TrainConfig(epochs=1000, size=of.size, batch_size=of.batch, **train)
    stages = get_architecture(of.arch).stages
    learner = build_learner(model, 1e-4, config, stages=stages, steps_per_epoch=1, device=device, precision=precision)
    if not channels_last:
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()
    return learner


def noise_augment(of: Setting, device: torch.device, augmentation: AugmentSettings | None = None) -> Augment:
    """Normalisation, and what else is asked for."""
    arch = get_architecture(of.arch)
    return Augment(Normalise(arch.mean, arch.std).to(device), CLASSES, augmentation or AugmentSettings())


def resident_batch(of: Setting, device: torch.device) -> Batch:
    """A batch that lies on the device."""
    frames = torch.randint(0, 256, (of.batch, of.frames, 3, of.size, of.size), dtype=torch.uint8)
    return Batch(frames.to(device), (torch.arange(of.batch) % CLASSES).to(device), ["x"] * of.batch)


def noise_batches(of: Setting, folder: Path, *, steps: int, workers: int, device: torch.device) -> DataLoader[Any]:
    """An epoch of so many steps from a frame store in this folder, as a trial reads it."""
    store = FrameStore(folder, DecodeSettings(frames=of.frames, short_side=of.size))
    clips = noise_clips(store, of)
    drawn = [clips[place % len(clips)] for place in range(steps * of.batch)]
    selection, crop = FrameSelection(of.frames), TrainTransform(of.size)
    return train_loader(
        TrainDataset(drawn, store, selection=selection, transform=crop, seed=0),
        EpochSampler([clip.label for clip in drawn], "imbalanced", seed=0),
        batch_size=of.batch,
        workers=workers,
        pin_memory=device.type == "cuda",
    )


def noise_clips(store: FrameStore, of: Setting) -> list[LabelledFrames]:
    """Clips of noise, put into the store where they are missing."""
    entries, rng = EntryFolder(store.folder), np.random.default_rng(0)
    width = of.size * 4 // 3
    facts = ClipFacts(
        container="none",
        codec="none",
        width=width,
        height=of.size,
        rotation=0,
        fps=30.0,
        variable_rate=False,
        packets=of.frames,
        frames=of.frames,
        duration=of.frames / 30,
        sought=False,
        damage="",
    )
    clips = [LabelledFrames(f"{number}.mp4", f"{number:064x}", number % CLASSES) for number in range(_CLIPS)]
    for clip in clips:
        if not entries.file(clip.digest).exists():
            entries.put(clip.digest, rng.integers(0, 256, (of.frames, of.size, width, 3), np.uint8), facts)
    return clips


@dataclass
class Clock:
    """Seconds of an epoch but for its first steps, with nothing left to compute at either end.

    Of a CPU its computing time counts, so that what else the machine does matters less.
    """

    device: torch.device
    seconds: float = 0.0

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; the clock starts after the uncounted ones."""
        for number, batch in enumerate(batches):
            if number == uncounted_steps(self.device):
                self.start()
            yield batch

    def start(self) -> None:
        """Once all before is computed."""
        self.seconds = -self._now()

    def stop(self) -> None:
        """Once the last step is computed."""
        self.seconds += self._now()

    def _now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def uncounted_steps(device: torch.device) -> int:
    """Steps in which memory is found and workers start."""
    return 3 if device.type == "cuda" else 1


def train_timed(learner: Learner, augment: Augment, batches: Iterable[Batch], clock: Clock) -> int:
    """An epoch under a clock; the most clips that were computed at once."""
    batch = learner.train.batch_size
    done = train_one_epoch(learner, augment, clock.watch(batches), epoch=1, seed=0, micro_batch=batch)
    clock.stop()
    return done.micro_batch
