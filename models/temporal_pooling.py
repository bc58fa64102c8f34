"""Temporal pooling: the features of a clip's frames to the features of the clip."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

TemporalPooling = Literal["average", "lstm", "attention"]
"""`average`: mean over time, which ignores the order of the frames. `lstm`: the last state of an LSTM over the frames
(Donahue et al. 2014, arXiv 1411.4389). `attention`: a Transformer encoder layer over the frames with learned positions
and a class token (Neimark et al. 2021, arXiv 2102.00719)."""

ATTENTION_HEADS = 8


def build_temporal_pooling(
    kind: TemporalPooling, features: int, width: int, num_frames: int, dropout: float
) -> tuple[nn.Module, int]:
    """Return a module from frame features `(B, T, features)` to clip features `(B, D)`, and D."""
    if kind == "average":
        return AveragePooling(), features
    if kind == "lstm":
        return LSTMPooling(features, width), width
    return AttentionPooling(features, width, num_frames, dropout), width


class AveragePooling(nn.Module):
    """The mean over time."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(B, T, D)` to `(B, D)`."""
        return features.mean(1)


class LSTMPooling(nn.Module):
    """The output of an LSTM at the last frame."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, width, batch_first=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(B, T, D)` to `(B, width)`."""
        return self.lstm(features)[0][:, -1]


class AttentionPooling(nn.Module):
    """One self-attention layer over a fixed number of frames and a class token, which is the output."""

    def __init__(self, features: int, width: int, num_frames: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.empty(num_frames, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.layer = nn.TransformerEncoderLayer(
            width, ATTENTION_HEADS, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(B, T, D)` to `(B, width)`."""
        frames = self.project(features) + self.positions  # (B, T, width)
        token = self.token.to(frames.dtype).expand(frames.shape[0], 1, -1)
        return self.norm(self.layer(torch.cat([token, frames], 1))[:, 0])
