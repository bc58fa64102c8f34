"""Which stored frames a trial sees of a clip, and which clips an epoch draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler, WeightedRandomSampler

from data.errors import DataError

SAMPLERS = ("imbalanced", "sqrt", "balanced")
"""`imbalanced`: each clip once an epoch. `balanced`: classes equally often, with replacement, as many draws. `sqrt`,
between them: classes in proportion to the square root of their clips (arXiv 1805.00932, section 2.2)."""

_POWERS = {"sqrt": 0.5, "balanced": 1.0}

SELECTIONS = ("uniform", "dense")
"""`uniform`: frames over the whole clip. `dense`: frames that follow each other, from one place in the clip."""


@dataclass(frozen=True, slots=True)
class FrameSelection:
    """Which of a clip's stored frames a model sees.

    Uniform: one frame of each of `num_frames` equal segments, a random one to train and its centre to evaluate (TSN,
    arXiv 1608.00859); with `min_span` the segments share out a random part of the clip to train. Dense: a window of
    frames `stride` apart, at a random place to train and in the middle to evaluate (C3D, arXiv 1412.0767, takes 16 at
    stride 1). Both give several views of a clip to evaluate: uniform ones are shifted within their segments, dense ones
    stand side by side.
    """

    num_frames: int
    kind: str = "uniform"
    """One of SELECTIONS."""
    stride: int = 1
    """Stored frames from one to the next of a dense window."""
    min_span: float = 1.0
    """Smallest part of a clip's time that uniform training frames cover; the less, the slower the clip plays."""

    def __post_init__(self) -> None:
        if self.kind not in SELECTIONS:
            raise DataError(f"no frame selection is called {self.kind!r}: there are {', '.join(SELECTIONS)}")
        if self.kind == "dense" and self.min_span != 1:
            raise DataError(f"min_span ({self.min_span:g}) has no effect on dense frames, whose span is fixed")

    @property
    def span(self) -> int:
        """Stored frames that a clip must have."""
        return (self.num_frames - 1) * self.stride + 1 if self.kind == "dense" else 1

    def train_indices(self, stored: int, rng: np.random.Generator) -> np.ndarray:
        """Indices in order, int64 `(num_frames,)`, each in `[0, stored)`, another choice at each call.

        Raises:
            DataError: a dense window is longer than the clip's stored frames.
        """
        if self.kind == "dense":
            return self._window(int(rng.integers(self._places(stored))))
        places = rng.random(self.num_frames)
        part = rng.uniform(self.min_span, 1.0) if self.min_span < 1 else 1.0
        return self._segments(stored, places, part, rng.uniform(0.0, 1.0 - part) if part < 1 else 0.0)

    def eval_indices(self, stored: int, view: int = 0, views: int = 1) -> np.ndarray:
        """Indices in order of one of `views` views, int64 `(num_frames,)`, each in `[0, stored)`; always the same.

        Raises:
            DataError: a dense window is longer than the clip's stored frames.
        """
        assert 0 <= view < views
        place = (view + 0.5) / views
        if self.kind == "dense":
            return self._window(int(place * self._places(stored)))
        return self._segments(stored, np.full(self.num_frames, place))

    def _segments(self, stored: int, places: np.ndarray, part: float = 1.0, start: float = 0.0) -> np.ndarray:
        length = part * stored / self.num_frames
        indices = (start * stored + (np.arange(self.num_frames) + places) * length).astype(np.int64)
        return np.minimum(indices, stored - 1)

    def _window(self, start: int) -> np.ndarray:
        return start + np.arange(self.num_frames, dtype=np.int64) * self.stride

    def _places(self, stored: int) -> int:
        if self.span > stored:
            raise DataError(
                f"{self.num_frames} frames at stride {self.stride} span {self.span} stored frames, a clip has "
                f"{stored}: keep more frames of a clip, or lower the stride"
            )
        return stored - self.span + 1


def balance_weights(labels: torch.Tensor, power: float) -> torch.Tensor:
    """How much each clip should count so that classes count by their number of clips to the power `1 - power`.

    Args:
        labels: int64 `(N,)`, class indices.
        power: 0 for each clip alike, 1 for each class alike.

    Returns:
        float64 `(N,)`, its mean is 1.
    """
    weights = torch.bincount(labels).double()[labels] ** -power
    return weights / weights.mean()


class Draw(NamedTuple):
    """One draw of an epoch: enough to seed everything random about it."""

    epoch: int
    position: int
    """Place in the epoch over all ranks, so that a clip drawn twice is cropped in two ways."""
    clip: int
    """Index of the clip in its dataset."""


def class_weights(labels: Sequence[int], num_classes: int) -> torch.Tensor:
    """Weights of the loss by which each class counts alike, float32 `(num_classes,)`; their mean over clips is 1."""
    indices = torch.as_tensor(labels, dtype=torch.int64)
    weights = torch.zeros(num_classes, dtype=torch.float64)
    weights[indices] = balance_weights(indices, 1.0)
    return weights.float()


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
        weights = balance_weights(self.labels, _POWERS[self.kind])
        return list(WeightedRandomSampler(weights.tolist(), len(self.labels), generator=generator))


def derived_seed(*parts: int) -> int:
    """A seed for one place in a run (trial seed, epoch, draw …): near-by places get unrelated streams.

    Returns:
        An int in `[0, 2**63)`.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
