"""An ensemble of models of one architecture, such as the models of all cross-validation folds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


class Ensemble(nn.Module):
    """Average the probabilities of several models."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Map normalised frames `(B, T, 3, H, W)` to float32 logits `(B, K)`.

        The softmax of the result is the mean of the members' softmax.
        """
        logs = torch.stack([member(frames).float().log_softmax(1) for member in self.members])
        return logs.logsumexp(0) - math.log(len(self.members))
