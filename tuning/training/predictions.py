"""A model's logits for some clips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's logits for some clips, with their labels."""

    clip_ids: list[str]
    labels: torch.Tensor
    """True class indices, int64 `(N,)`."""
    logits: torch.Tensor
    """float32 `(N, K)`, on the CPU."""


def concatenate_predictions(parts: Iterable[Predictions]) -> Predictions:
    """Concatenate predictions. Empty parts are skipped, since they do not know the number of classes."""
    filled = [part for part in parts if part.clip_ids]
    if not filled:
        return Predictions([], torch.empty(0, dtype=torch.int64), torch.empty(0, 0))
    return Predictions(
        [clip_id for part in filled for clip_id in part.clip_ids],
        torch.cat([part.labels for part in filled]),
        torch.cat([part.logits for part in filled]),
    )
