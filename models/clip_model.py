"""The base class of all architectures, which subtracts the mean frame if the options say so, and the head alone."""

from __future__ import annotations

import torch
from torch import nn

from models.options import ModelOptions


def remove_mean_frame(frames: torch.Tensor) -> torch.Tensor:
    """Subtract each clip's mean over time from frames `(B, T, 3, H, W)`: a still background becomes zero."""
    return frames - frames.mean(1, keepdim=True)


class ClipModel(nn.Module):
    """Base class of all architectures: normalised frames to features to logits."""

    head: nn.Module
    """Maps the features of clips to logits `(B, K)`."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.subtract_mean_frame = options.subtract_mean_frame

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Map normalised float frames `(B, T, 3, H, W)` to logits `(B, K)`."""
        return self.head(self.extract_features(frames))

    def extract_features(self, frames: torch.Tensor) -> torch.Tensor:
        """Map normalised float frames `(B, T, 3, H, W)` to what the head takes, such as `(B, T, D)`."""
        return self.run_backbone(remove_mean_frame(frames) if self.subtract_mean_frame else frames)

    def run_backbone(self, frames: torch.Tensor) -> torch.Tensor:
        """Map the backbone's input `(B, T, 3, H, W)`, the mean frame already subtracted, to features."""
        raise NotImplementedError


class HeadModel(nn.Module):
    """The head of a model alone, which takes stored features; its parameters have the same names."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.head = model.head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features, as `ClipModel.extract_features` returns them, to logits `(B, K)`."""
        return self.head(features)
