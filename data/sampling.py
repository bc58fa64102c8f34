"""Which stored frames a trial sees of a clip, and which clips an epoch draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler, WeightedRandomSampler

from data.errors import DataError

SAMPLERS = ("imbalanced", "balanced")
"""`imbalanced`: each clip once an epoch. `balanced`: classes equally often, with replacement, as many draws."""


class Draw(NamedTuple):
    """One draw of an epoch: enough to seed everything random about it."""

    epoch: int
    position: int
    """Place in the epoch over all ranks, so that a clip drawn twice is cropped in two ways."""
    clip: int
    """Index of the clip in its dataset."""


def train_frame_indices(stored: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One random frame of each of `num_frames` equal segments (TSN, arXiv 1608.00859), in order.

    Returns:
        int64 `(num_frames,)`, each in `[0, stored)`.
    """
    places = (np.arange(num_frames) + rng.random(num_frames)) * (stored / num_frames)
    return np.minimum(places.astype(np.int64), stored - 1)


def eval_frame_indices(stored: int, num_frames: int) -> np.ndarray:
    """The centre frame of each of `num_frames` equal segments, in order.

    Returns:
        int64 `(num_frames,)`, each in `[0, stored)`.
    """
    places = (np.arange(num_frames) + 0.5) * (stored / num_frames)
    return np.minimum(places.astype(np.int64), stored - 1)


class EpochSampler(Sampler[Draw]):
    """Draws of one rank for one epoch: seeded, the same whatever the number of loader processes.

    All ranks make the same list of an epoch's draws and take every `world_size`-th of it; the list is filled up
    from its start so that all ranks take as many steps (gradients are exchanged at each).
    """

    def __init__(self, labels: Sequence[int], kind: str, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if kind not in SAMPLERS:
            raise DataError(f"no sampler is called {kind!r}: there are {', '.join(SAMPLERS)}")
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self.kind, self.seed, self.rank, self.world_size = kind, seed, rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Must be called before each epoch; another epoch is another order."""
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
        weights = 1.0 / torch.bincount(self.labels).double()[self.labels]
        return list(WeightedRandomSampler(weights.tolist(), len(self.labels), generator=generator))


def derived_seed(*parts: int) -> int:
    """A seed for one place in a run (trial seed, epoch, draw …): near-by places get unrelated streams.

    Returns:
        An int in `[0, 2**63)`.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
