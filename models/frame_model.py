"""Image networks applied to each frame: frame features, temporal pooling, two fully connected layers."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from models.clip_model import ClipModel
from models.errors import ModelError
from models.options import DropRate, ModelOptions, Width
from models.temporal_pooling import ATTENTION_HEADS, TemporalPooling, build_temporal_pooling

_TEMPORAL_WIDTH = 256


@dataclass(frozen=True, kw_only=True)
class HeadOptions(ModelOptions):
    """Options of the two fully connected layers."""

    hidden: Width = 256
    """Width of the first fully connected layer."""

    dropout: DropRate = 0.5
    """Dropout rate before the last layer."""


@dataclass(frozen=True, kw_only=True)
class FrameOptions(HeadOptions):
    """Options of image networks that are applied to each frame."""

    temporal: TemporalPooling = "average"
    """Temporal pooling of the frame features: `average`, `lstm` or `attention`."""

    temporal_width: Width = _TEMPORAL_WIDTH
    """Width of the LSTM or the attention layer."""

    def __post_init__(self) -> None:
        if self.temporal == "average" and self.temporal_width != _TEMPORAL_WIDTH:
            raise ModelError(
                f"temporal_width ({self.temporal_width}) has no effect with temporal: average; leave it out, or set "
                "temporal: lstm or attention"
            )
        if self.temporal == "attention" and self.temporal_width % ATTENTION_HEADS:
            raise ModelError(
                f"temporal_width is {self.temporal_width}; with temporal: attention it must be a multiple of "
                f"{ATTENTION_HEADS}, the number of attention heads"
            )


class FrameModel(ClipModel):
    """An image network without its classifier, applied to each frame.

    With `temporal: average` the order of the frames has no effect: the model can only use what single frames show.
    """

    def __init__(
        self, options: FrameOptions, backbone: nn.Module, features: int, num_classes: int, num_frames: int
    ) -> None:
        super().__init__(options)
        self.backbone = backbone
        pooling, width = build_temporal_pooling(
            options.temporal, features, options.temporal_width, num_frames, dropout=options.dropout
        )
        self.head = classifier_head(pooling, width, options, num_classes)

    def run_backbone(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, T, D)`."""
        features = self.backbone(frames.flatten(0, 1))  # (B*T, D)
        return features.unflatten(0, frames.shape[:2])


def classifier_head(pooling: nn.Module, width: int, options: HeadOptions, num_classes: int) -> nn.Sequential:
    """Build the layers from frame features `(B, T, D)` to logits `(B, K)`; `pooling` returns `(B, width)`."""
    return nn.Sequential(
        OrderedDict(
            [
                ("temporal", pooling),
                # These names are the numbers that the layers had before temporal pooling became a layer of its own.
                # Existing state dicts use them.
                ("0", nn.Linear(width, options.hidden)),
                ("1", nn.ReLU(inplace=True)),
                ("2", nn.Dropout(options.dropout)),
                ("3", nn.Linear(options.hidden, num_classes)),
            ]
        )
    )
