"""A model's answers on some clips, in the order of the clips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's answer to some clips."""

    clip_ids: list[str]
    labels: torch.Tensor
    """int64 `(N,)`."""
    logits: torch.Tensor
    """float32 `(N, K)`, on the CPU."""


def concatenate_predictions(parts: Iterable[Predictions]) -> Predictions:
    """All parts as one; a part without clips has no number of classes to stack by, and is passed over."""
    filled = [part for part in parts if part.clip_ids]
    if not filled:
        return Predictions([], torch.empty(0, dtype=torch.int64), torch.empty(0, 0))
    return Predictions(
        [clip_id for part in filled for clip_id in part.clip_ids],
        torch.cat([part.labels for part in filled]),
        torch.cat([part.logits for part in filled]),
    )
