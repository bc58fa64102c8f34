"""From logits to class probabilities and the most likely classes; registered models contain a copy of this module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def tempered_softmax(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return `softmax(logits / temperature)` of logits `(N, K)`, as float32 (Guo et al. 2017, arXiv:1706.04599)."""
    return (logits.double() / temperature).softmax(1).float()


def top_classes(probabilities: np.ndarray, classes: Sequence[str], k: int) -> list[tuple[str, float]]:
    """Return the `k` most likely of K classes with their probabilities `(K,)`, the most likely first."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [(classes[index], float(probabilities[index])) for index in order]
