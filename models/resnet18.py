"""ResNet18 on each frame, features averaged over time, two fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.errors import ModelError
from models.motion import less_mean_frame


@dataclass(frozen=True)
class ResNet18Config:
    """Options of `resnet18`."""

    hidden: int = 256
    """Width of the first of the two fully connected layers."""

    dropout: float = 0.5
    """Share of hidden units dropped in training."""

    subtract_mean_frame: bool = False
    """Take each clip's mean over time off its frames, so that a still background vanishes and what moves stays."""

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ModelError(f"resnet18's hidden is {self.hidden}: it must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"resnet18's dropout is {self.dropout:g}: it must be from 0 to below 1")


class ResNet18Average(nn.Module):
    """torchvision's ResNet18 (He et al. 2015, arXiv 1512.03385) without its classifier, averaged over frames.

    The order of the frames makes no difference to it: what it gets right, single frames tell.
    """

    def __init__(self, config: ResNet18Config, num_classes: int) -> None:
        super().__init__()
        from torchvision.models import resnet18

        self.subtract_mean_frame = config.subtract_mean_frame
        self.backbone = resnet18(weights=None)
        self.backbone.fc = nn.Identity()
        self.head = nn.Sequential(
            nn.Linear(512, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, num_classes),
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalised float frames `(B, T, 3, H, W)` to logits `(B, K)`."""
        if self.subtract_mean_frame:
            frames = less_mean_frame(frames)
        features = self.backbone(frames.flatten(0, 1))  # (B*T, 512)
        return self.head(features.unflatten(0, frames.shape[:2]).mean(1))
