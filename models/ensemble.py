"""Several models of one architecture that answer together, such as those of a cross-validation's folds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


class Ensemble(nn.Module):
    """The mean of its members' probabilities, as logits."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` normalised to `(B, K)` float32: the softmax of it is the members' mean softmax."""
        logs = torch.stack([member(frames).float().log_softmax(1) for member in self.members])
        return logs.logsumexp(0) - math.log(len(self.members))
