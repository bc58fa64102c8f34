"""Networks for pictures on each frame of a clip: features, a temporal head, two fully connected layers."""

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
    """Width of the first of the two fully connected layers."""

    dropout: DropRate = 0.5
    """Share of hidden units dropped in training."""


@dataclass(frozen=True, kw_only=True)
class FrameOptions(HeadOptions):
    """Options of networks that see frame by frame."""

    temporal: TemporalPooling = "average"
    """How the frames' features become the clip's: `average`, `lstm` or `attention`."""

    temporal_width: Width = _TEMPORAL_WIDTH
    """Width of the LSTM or the attention."""

    def __post_init__(self) -> None:
        if self.temporal == "average" and self.temporal_width != _TEMPORAL_WIDTH:
            raise ModelError(
                f"temporal_width ({self.temporal_width}) has no effect with temporal: average; leave it out, or set "
                "temporal: lstm or attention"
            )
        if self.temporal == "attention" and self.temporal_width % ATTENTION_HEADS:
            raise ModelError(
                f"temporal_width is {self.temporal_width}: with temporal: attention it must be a multiple of "
                f"{ATTENTION_HEADS}, the number of heads"
            )


class FrameModel(ClipModel):
    """A network for pictures without its classifier on each frame.

    With `temporal: average` the order of the frames makes no difference: what it gets right, single frames tell.
    """

    def __init__(
        self, options: FrameOptions, backbone: nn.Module, features: int, num_classes: int, num_frames: int
    ) -> None:
        super().__init__(options)
        self.backbone = backbone
        gather, width = build_temporal_pooling(
            options.temporal, features, options.temporal_width, num_frames, dropout=options.dropout
        )
        self.head = classifier_head(gather, width, options, num_classes)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, K)`."""
        features = self.backbone(frames.flatten(0, 1))  # (B*T, D)
        return self.head(features.unflatten(0, frames.shape[:2]))


def classifier_head(gather: nn.Module, width: int, options: HeadOptions, num_classes: int) -> nn.Sequential:
    """From frames' features `(B, T, D)` to logits `(B, K)`, by way of `gather` to `(B, width)`."""
    return nn.Sequential(
        OrderedDict(
            [
                ("temporal", gather),
                # Numbered as before there were temporal heads, so that older models' files fit.
                ("0", nn.Linear(width, options.hidden)),
                ("1", nn.ReLU(inplace=True)),
                ("2", nn.Dropout(options.dropout)),
                ("3", nn.Linear(options.hidden, num_classes)),
            ]
        )
    )
