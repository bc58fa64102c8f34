"""A task of a few pixels for tests of training: the class of a clip is its colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from data.loading.augment import Augment, AugmentSettings
from data.loading.loaders import Batch
from data.loading.transforms import Normalise
from tuning.config.schema.train import TrainConfig
from tuning.training.epoch import EpochTotals, train_one_epoch
from tuning.training.learner import Learner, build_learner

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=4, warmup_epochs=1.0, weight_decay=0.0)
NORMALISE = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
AUGMENT = Augment(NORMALISE, 2, AugmentSettings())


class MeanColour(nn.Module):
    """Logits from a clip's mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(frames.mean(dim=(1, 3, 4)))


def colour_batches(sizes: tuple[int, ...] = (4, 4, 2)) -> list[Batch]:
    """Return batches of red clips, which are class 0, and blue clips, which are class 1."""
    batches = []
    for number, size in enumerate(sizes):
        label = torch.arange(size) % 2
        frames = torch.zeros(size, 2, 3, 8, 8, dtype=torch.uint8)
        frames[label == 0, :, 0] = 200
        frames[label == 1, :, 2] = 200
        batches.append(Batch(frames, label, [f"{number}-{i}" for i in range(size)]))
    return batches


def learner_of(model: nn.Module, train: TrainConfig = TRAIN, lr: float = 0.5, **settings: Any) -> Learner:
    defaults = {"stages": (), "steps_per_epoch": 3, "device": CPU, "precision": "fp32", **settings}
    return build_learner(model, lr, train, **defaults)


def run_epoch(
    learner: Learner, batches: Sequence[Batch] | None = None, micro_batch: int = 4, **settings: Any
) -> EpochTotals:
    """Train the first epoch."""
    batches = batches or colour_batches()
    return train_one_epoch(learner, AUGMENT, batches, epoch=1, seed=0, micro_batch=micro_batch, **settings)
