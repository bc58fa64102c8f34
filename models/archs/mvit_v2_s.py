"""MViTv2-S, a Transformer whose resolution falls from stage to stage (Li et al. 2021, arXiv 2112.01526)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.architecture import Architecture, DownloadableWeights
from models.options import DropRate
from models.video_model import VideoModel, VideoOptions

# A patch spans four pixels a side and starts on every second frame.
_PATCH, _PATCH_FRAMES = 4, 2


@dataclass(frozen=True, kw_only=True)
class MViTV2SOptions(VideoOptions):
    """Options of `mvit_v2_s`."""

    stochastic_depth: DropRate = 0.2
    """Share of clips that skip the last block in training; the first block's is 0, those between rise evenly."""


class _NormOfPlaces(nn.LayerNorm):
    """A block's first norm, by way of `patches`, which sees the patches where they are in the clip.

    A subclass, not a layer around it: the keys stay torchvision's.
    """

    def __init__(self, norm: nn.LayerNorm, places: tuple[int, int, int]) -> None:
        super().__init__(norm.normalized_shape, norm.eps)
        self.places = places
        self.patches = nn.Identity()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`(B, 1 + T'H'W', C)` to the same; `patches` sees `(B, C, T', H', W')`."""
        tokens = super().forward(input)
        patches = self.patches(tokens[:, 1:].transpose(1, 2).unflatten(2, self.places))
        return torch.cat([tokens[:, :1], patches.flatten(2).transpose(1, 2)], 1)


def _build(config: MViTV2SOptions, num_classes: int, num_frames: int, size: int) -> VideoModel:
    from torchvision.models.video import mvit_v2_s

    # Built for the clips of its weights, whatever it will see: torchvision's attention stretches its tables of relative
    # positions (linearly) to the number of patches that it finds.
    backbone = mvit_v2_s(weights=None, stochastic_depth_prob=config.stochastic_depth)
    backbone.pos_encoding.temporal_size = num_frames // _PATCH_FRAMES
    backbone.pos_encoding.spatial_size = (size // _PATCH, size // _PATCH)
    side = size // _PATCH // 8
    last = backbone.blocks[-1]
    last.norm1 = _NormOfPlaces(last.norm1, (num_frames // _PATCH_FRAMES, side, side))
    backbone.head = nn.Identity()  # (B, 3, T, H, W) to (B, 768)
    return VideoModel(config, backbone, 768, num_classes)


ARCHITECTURE = Architecture(
    name="mvit_v2_s",
    options_type=MViTV2SOptions,
    build=_build,
    frame_counts=range(4, 65, 2),
    # Patches of 4 pixels, then three halvings.
    sizes=range(64, 449, 32),
    default_input=(16, 224),
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    stages=(
        "backbone.conv_proj.",
        "backbone.pos_encoding.",
        *(f"backbone.blocks.{number}." for number in range(16)),
        "backbone.norm.",
    ),
    # Of what the last block hands on, the class token alone counts: its patches are last heard in its attention.
    pool=lambda model: model.backbone.blocks[-1].norm1.patches,
    # torchvision's `KINETICS400_V1`, 80.8 % top-1 by clips of 16 frames at 224: nearest to that it is best.
    weights={"kinetics400": DownloadableWeights("https://download.pytorch.org/models/mvit_v2_s-ae3be167.pth")},
)
