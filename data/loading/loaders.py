"""Datasets and batches over the frame store."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler, Subset

from data.loading.frame_selection import FrameSelection
from data.loading.model_input import eval_frames, select_frames
from data.loading.sampling import Draw, EpochSampler, derived_seed
from data.loading.transforms import EvalTransform, TrainTransform
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore

BATCHES_AHEAD = 4
"""Batches that each loader process prepares in advance."""


class Batch(NamedTuple):
    """A batch of B clips: frames uint8 `(B, T, 3, H, W)` or stored features float32, label int64 `(B,)`, clip ids."""

    frames: torch.Tensor
    label: torch.Tensor
    clip_id: list[str]


class Sample(NamedTuple):
    """A clip of a `Batch`."""

    frames: torch.Tensor
    label: int
    clip_id: str


class ClipDataset(Dataset[Sample]):
    """Base class of datasets of labelled clips."""

    clips: Sequence[LabelledFrames]

    def __len__(self) -> int:
        return len(self.clips)

    def first(self, number: int) -> Self:
        """Return the dataset of the first `number` clips."""
        part = copy.copy(self)
        part.clips = self.clips[:number]
        return part


class TrainDataset(ClipDataset):
    """Training clips with random frames, crop and flip, which depend on the seed and the draw alone."""

    def __init__(
        self,
        clips: Sequence[LabelledFrames],
        store: FrameStore,
        *,
        selection: FrameSelection,
        transform: TrainTransform,
        seed: int,
    ) -> None:
        self.clips, self.store, self.selection = clips, store, selection
        self.transform, self.seed = transform, seed

    def __getitem__(self, draw: Draw) -> Sample:
        clip = self.clips[draw.clip]
        rng = np.random.default_rng(derived_seed(self.seed, draw.epoch, draw.position, draw.clip))
        stored = self.store.read(clip.digest)
        frames = select_frames(stored, self.selection.train_indices(len(stored), rng))
        return Sample(self.transform(frames, rng), clip.label, clip.clip_id)


class EvalDataset(ClipDataset):
    """Evaluation clips, with the fixed frames and crop of one view."""

    def __init__(
        self,
        clips: Sequence[LabelledFrames],
        store: FrameStore,
        *,
        selection: FrameSelection,
        transform: EvalTransform,
        view: int = 0,
        views: int = 1,
    ) -> None:
        self.clips, self.store, self.selection, self.transform = clips, store, selection, transform
        self.view, self.views = view, views

    def __getitem__(self, index: int) -> Sample:
        clip = self.clips[index]
        frames = eval_frames(self.store.read(clip.digest), self.selection, self.transform, self.view, self.views)
        return Sample(frames, clip.label, clip.clip_id)


def train_loader(
    dataset: ClipDataset, sampler: EpochSampler, *, batch_size: int, workers: int, pin_memory: bool
) -> DataLoader[Sample]:
    """Return a loader of an epoch's draws in batches; call `sampler.set_epoch` before each epoch."""
    return _loader(dataset, sampler, batch_size, workers, pin_memory)


def eval_loader(
    dataset: ClipDataset,
    *,
    batch_size: int,
    workers: int,
    pin_memory: bool,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Sample]:
    """Return a loader of each clip once over all ranks, in order; ranks may have unequal numbers of clips."""
    part = Subset(dataset, range(rank, len(dataset), world_size))
    return _loader(part, SequentialSampler(part), batch_size, workers, pin_memory)


def _loader(
    dataset: Dataset[Sample], sampler: Sampler[Any], batch_size: int, workers: int, pin_memory: bool
) -> DataLoader[Sample]:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        # Started once, not in each epoch.
        persistent_workers=workers > 0,
        # Batches in advance bridge the time to read a clip from disk.
        prefetch_factor=BATCHES_AHEAD if workers else None,
        collate_fn=_collate,
    )


def _collate(items: list[Sample]) -> Batch:
    return Batch(
        torch.stack([item.frames for item in items]),
        torch.tensor([item.label for item in items]),
        [item.clip_id for item in items],
    )
