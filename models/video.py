"""torchvision's networks for clips, whole but for their classifiers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.conv3d import with_padded_convolutions
from models.motion import ClipModel
from models.options import ClipOptions, Share

RESNET_STAGES = tuple(f"backbone.{part}." for part in ("stem", "layer1", "layer2", "layer3", "layer4"))
"""Of torchvision's residual networks for clips."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions(ClipOptions):
    """Options of networks for clips."""

    dropout: Share = 0.5
    """Share of the clip's features dropped in training before the last layer."""


class VideoModel(ClipModel):
    """A network for clips and one fully connected layer."""

    def __init__(self, options: VideoOptions, backbone: nn.Module, features: int, num_classes: int) -> None:
        super().__init__(options)
        self.backbone = with_padded_convolutions(backbone)
        self.head = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(features, num_classes))

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, K)`."""
        return self.head(self.backbone(frames.transpose(1, 2)))
