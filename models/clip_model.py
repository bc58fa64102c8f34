"""What moves in a clip, apart from where it was filmed: the one place where a clip's mean frame is taken off."""

from __future__ import annotations

import torch
from torch import nn

from models.options import ModelOptions


def remove_mean_frame(frames: torch.Tensor) -> torch.Tensor:
    """Frames `(B, T, 3, H, W)` less each clip's mean over time: a still background becomes zero, what moves stays."""
    return frames - frames.mean(1, keepdim=True)


class ClipModel(nn.Module):
    """What all architectures are: normalised frames to logits, by way of what moves if the options say so."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.subtract_mean_frame = options.subtract_mean_frame

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalised float frames `(B, T, 3, H, W)` to logits `(B, K)`."""
        return self.logits(remove_mean_frame(frames) if self.subtract_mean_frame else frames)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """What an architecture makes of the frames that it is shown, `(B, T, 3, H, W)`: logits `(B, K)`."""
        raise NotImplementedError
