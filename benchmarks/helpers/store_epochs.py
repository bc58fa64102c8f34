"""Epochs of training clips from a frame store, without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from data.loading.frame_selection import FrameSelection
from data.loading.loaders import TrainDataset, train_loader
from data.loading.sampling import EpochSampler
from data.loading.transforms import TrainTransform
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore

FRAMES, SIZE = 16, 112

Epoch = Callable[[], Iterator[Any]]
"""Yields an epoch's batches of frames."""


def store_epochs(clips: Sequence[LabelledFrames], store: FrameStore, batch_size: int) -> Epoch:
    """Return a function whose every call loads the next epoch as a trial does, in this process."""
    dataset = TrainDataset(clips, store, selection=FrameSelection(FRAMES), transform=TrainTransform(SIZE, 0.75), seed=0)
    sampler = EpochSampler([clip.label for clip in clips], "imbalanced", seed=0)
    loader = train_loader(dataset, sampler, batch_size=batch_size, workers=0, pin_memory=False)
    numbers = count(1)

    def epoch() -> Iterator[Any]:
        sampler.set_epoch(next(numbers))
        for batch in loader:
            yield batch.frames

    return epoch
