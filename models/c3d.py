"""C3D: eight 3-D convolutions over space and time (Tran et al. 2015, arXiv 1412.0767)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models.errors import ModelError
from models.motion import less_mean_frame

# Output channels of each convolution as multiples of the first's, and after which ones a pool follows.
_WIDTHS = (1, 2, 4, 4, 8, 8, 8, 8)
_POOL_AFTER = (0, 1, 3, 5, 7)


@dataclass(frozen=True)
class C3DConfig:
    """Options of `c3d`."""

    batch_norm: bool = False
    """Batch norm after each convolution; the paper has none."""

    width: int = 64
    """Channels of the first convolution, the others in proportion; the paper's is 64."""

    fc: int = 4096
    """Width of the two hidden fully connected layers; for `head: fc` alone."""

    dropout: float = 0.5
    """Share of units dropped in training before the last layer and, with `head: fc`, the one before it."""

    head: Literal["fc", "pool"] = "fc"
    """`fc`: the paper's three fully connected layers. `pool`: the average over space and time, then one layer."""

    subtract_mean_frame: bool = False
    """Take each clip's mean over time off its frames, so that a still background vanishes and what moves stays; the
    paper takes off the mean of all training clips."""

    def __post_init__(self) -> None:
        for name in ("width", "fc"):
            if getattr(self, name) < 1:
                raise ModelError(f"c3d's {name} is {getattr(self, name)}: it must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"c3d's dropout is {self.dropout:g}: it must be from 0 to below 1")
        if self.head == "pool" and self.fc != 4096:
            raise ModelError(f"c3d's fc ({self.fc}) has no effect with head: pool; leave it out, or set head: fc")


class C3D(nn.Module):
    """C3D for one frame count and size; with the defaults, 16 frames of 112x112, the paper's network.

    Frame counts are multiples of 8: an odd length would lose its last frames in a pool.
    """

    def __init__(self, config: C3DConfig, num_classes: int, num_frames: int, size: int) -> None:
        super().__init__()
        self.subtract_mean_frame = config.subtract_mean_frame
        layers: list[nn.Module] = []
        before, shape = 3, (num_frames, size, size)
        for number, factor in enumerate(_WIDTHS):
            channels = factor * config.width
            layers.append(_Conv3x3x3(before, channels, 3, padding=1, bias=not config.batch_norm))
            layers += [nn.BatchNorm3d(channels)] if config.batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            before = channels
            if number in _POOL_AFTER:
                pool, shape = _pool(_POOL_AFTER.index(number), shape)
                layers.append(pool)
        self.features = nn.Sequential(*layers)
        self.head = _head(config, before, shape, num_classes)
        self.apply(_initialise)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalised float frames `(B, T, 3, H, W)` to logits `(B, K)`."""
        if self.subtract_mean_frame:
            frames = less_mean_frame(frames)
        return self.head(self.features(frames.transpose(1, 2)))


class _Conv3x3x3(nn.Conv3d):
    """A convolution with padding 1 that also learns from clips of length 2.

    With torch 2.14.1 in bf16 on CPUs, the gradient of the weights is taken from uninitialised memory where the length
    is exactly 2 (the last blocks of C3D at 16 frames) unless the padding over time is laid on beforehand.
    """

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        if clip.shape[2] != 2:
            return super().forward(clip)
        padded = F.pad(clip, (0, 0, 0, 0, 1, 1))
        return F.conv3d(padded, self.weight, self.bias, padding=(0, 1, 1))


def _pool(number: int, shape: tuple[int, int, int]) -> tuple[nn.Module, tuple[int, int, int]]:
    """The paper's pool and the shape after it; a single frame left is kept, so that 8 frames are enough."""
    time, height, width = shape
    over_time = 2 if number > 0 and time > 1 else 1
    padding = 1 if number == 4 else 0
    pool = nn.MaxPool3d((over_time, 2, 2), padding=(0, padding, padding))
    return pool, (time // over_time, (height + 2 * padding) // 2, (width + 2 * padding) // 2)


def _head(config: C3DConfig, channels: int, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    if config.head == "pool":
        return nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(channels, num_classes)
        )
    inputs = channels * shape[0] * shape[1] * shape[2]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, config.fc),
        nn.ReLU(inplace=True),
        nn.Dropout(config.dropout),
        nn.Linear(config.fc, config.fc),
        nn.ReLU(inplace=True),
        nn.Dropout(config.dropout),
        nn.Linear(config.fc, num_classes),
    )


def _initialise(module: nn.Module) -> None:
    """He's initialisation (arXiv 1502.01852).

    Without batch norm PyTorch's default lets the signal shrink more than a hundredfold from the first convolution to
    the last, and the Gaussians of 0.005 and 0.01 in the original recipe for the fully connected layers leave a narrow
    network at its first loss for dozens of steps.
    """
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
