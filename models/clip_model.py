"""The base class of all architectures; subtracts the mean frame if the options say so."""

from __future__ import annotations

import torch
from torch import nn

from models.options import ModelOptions


def remove_mean_frame(frames: torch.Tensor) -> torch.Tensor:
    """Subtract each clip's mean over time from frames `(B, T, 3, H, W)`: a still background becomes zero."""
    return frames - frames.mean(1, keepdim=True)


class ClipModel(nn.Module):
    """Base class of all architectures: normalised frames to logits."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.subtract_mean_frame = options.subtract_mean_frame

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Map normalised float frames `(B, T, 3, H, W)` to logits `(B, K)`."""
        return self.logits(remove_mean_frame(frames) if self.subtract_mean_frame else frames)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """Map the network's input `(B, T, 3, H, W)`, the mean frame already subtracted, to logits `(B, K)`."""
        raise NotImplementedError
