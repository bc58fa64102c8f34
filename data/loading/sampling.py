"""Samplers of an epoch's clips, weights that balance classes, and the seeds of everything random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler, WeightedRandomSampler

from data.errors import DataError

SAMPLERS = ("imbalanced", "sqrt", "balanced")
"""`imbalanced`: each clip once per epoch. `balanced`: as many draws with replacement, classes equally often. `sqrt`:
draws with replacement, classes in proportion to the square root of their clips (arXiv 1805.00932, section 2.2)."""

# The settings name the samplers again: `SpaceConfig.sampler` in tuning/config/schema/space.py.
_POWERS = {"sqrt": 0.5, "balanced": 1.0}


def clip_weights(labels: torch.Tensor, power: float) -> torch.Tensor:
    """Return sampling weights that make classes count by their number of clips to the power `1 - power`.

    Args:
        labels: int64 `(N,)`, class indices.
        power: 0 gives each clip the same weight, 1 each class.

    Returns:
        float64 `(N,)` with a mean of 1.
    """
    weights = torch.bincount(labels).double()[labels] ** -power
    return weights / weights.mean()


class Draw(NamedTuple):
    """One draw of an epoch, with what seeds everything random about it."""

    epoch: int
    position: int
    """Position in the epoch over all ranks, so that a clip drawn twice gets two different crops."""
    clip: int
    """Index of the clip in its dataset."""


def class_weights(labels: Sequence[int], num_classes: int) -> torch.Tensor:
    """Return loss weights that make each class count equally, float32 `(num_classes,)`; their mean over clips is 1."""
    indices = torch.as_tensor(labels, dtype=torch.int64)
    weights = torch.zeros(num_classes, dtype=torch.float64)
    weights[indices] = clip_weights(indices, 1.0)
    return weights.float()


class EpochSampler(Sampler[Draw]):
    """Yields the draws of one rank for one epoch, which depend on the seed but not on the number of loader processes.

    All ranks compute the same list of draws and take every `world_size`-th. The list is padded with its first draws so
    that all ranks take the same number of steps, because they exchange gradients at each.
    """

    def __init__(self, labels: Sequence[int], kind: str, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if kind not in SAMPLERS:
            raise DataError(f"the sampler is {kind!r}; give one of {', '.join(SAMPLERS)}")
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self.kind, self.seed, self.rank, self.world_size = kind, seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides the order; to be called before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.labels) // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        order = self._epoch_order()
        padded = order + order[: len(self) * self.world_size - len(order)]
        for position in range(self.rank, len(padded), self.world_size):
            yield Draw(self.epoch, position, padded[position])

    def _epoch_order(self) -> list[int]:
        generator = torch.Generator().manual_seed(int(derived_seed(self.seed, self.epoch)))
        if self.kind == "imbalanced":
            return torch.randperm(len(self.labels), generator=generator).tolist()
        weights = clip_weights(self.labels, _POWERS[self.kind])
        return list(WeightedRandomSampler(weights.tolist(), len(self.labels), generator=generator))


def derived_seed(*parts: int) -> int:
    """Return a seed for a position in a run (trial seed, epoch, draw …); neighbouring positions have unrelated streams.

    Returns:
        An int in `[0, 2**63)`.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
