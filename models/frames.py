"""Networks for pictures on each frame of a clip: features, a temporal head, two fully connected layers."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from models.errors import ModelError
from models.motion import ClipModel
from models.options import ClipOptions, Count, Share
from models.temporal import ATTENTION_HEADS, Temporal, temporal

_TEMPORAL_WIDTH = 256


@dataclass(frozen=True, kw_only=True)
class HeadOptions(ClipOptions):
    """Options of the two fully connected layers."""

    hidden: Count = 256
    """Width of the first of the two fully connected layers."""

    dropout: Share = 0.5
    """Share of hidden units dropped in training."""


@dataclass(frozen=True, kw_only=True)
class FrameOptions(HeadOptions):
    """Options of networks that see frame by frame."""

    temporal: Temporal = "average"
    """How the frames' features become the clip's: `average`, `lstm` or `attention`."""

    temporal_width: Count = _TEMPORAL_WIDTH
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
        gather, width = temporal(
            options.temporal, features, options.temporal_width, num_frames, dropout=options.dropout
        )
        self.head = two_layers(gather, width, options, num_classes)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, K)`."""
        features = self.backbone(frames.flatten(0, 1))  # (B*T, D)
        return self.head(features.unflatten(0, frames.shape[:2]))


def two_layers(gather: nn.Module, width: int, options: HeadOptions, num_classes: int) -> nn.Sequential:
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
