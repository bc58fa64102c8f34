"""MViTv2-S, a Transformer that halves its resolution from stage to stage (Li et al. 2021, arXiv 2112.01526)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.architecture import Architecture, DownloadableWeights
from models.options import DropRate
from models.video_model import VideoModel, VideoOptions

# Pixels per side of a patch, and frames from one patch to the next.
_PATCH_SIZE, _PATCH_STRIDE = 4, 2


@dataclass(frozen=True, kw_only=True)
class MViTV2SOptions(VideoOptions):
    """Options of `mvit_v2_s`."""

    stochastic_depth: DropRate = 0.2
    """Probability that a clip skips the last block in training; it rises linearly from 0 at the first block."""


class _NormWithPatchMap(nn.LayerNorm):
    """A block's first norm, which passes its patches through the module `patches` as a feature map.

    Grad-CAM hooks `patches`. This is a subclass and not a wrapper, so that the state-dict keys stay torchvision's.
    """

    def __init__(self, norm: nn.LayerNorm, patch_grid: tuple[int, int, int]) -> None:
        super().__init__(norm.normalized_shape, norm.eps)
        self.patch_grid = patch_grid
        self.patches = nn.Identity()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`(B, 1 + T'H'W', C)` to the same shape; the input of `patches` is `(B, C, T', H', W')`."""
        tokens = super().forward(input)
        patches = self.patches(tokens[:, 1:].transpose(1, 2).unflatten(2, self.patch_grid))
        return torch.cat([tokens[:, :1], patches.flatten(2).transpose(1, 2)], 1)


def _build(options: MViTV2SOptions, num_classes: int, num_frames: int, size: int) -> VideoModel:
    from torchvision.models.video import mvit_v2_s

    # Built for the input of its weights, whatever the frame count and size: torchvision's attention interpolates its
    # tables of relative positions linearly to the number of patches.
    backbone = mvit_v2_s(weights=None, stochastic_depth_prob=options.stochastic_depth)
    backbone.pos_encoding.temporal_size = num_frames // _PATCH_STRIDE
    backbone.pos_encoding.spatial_size = (size // _PATCH_SIZE, size // _PATCH_SIZE)
    side = size // _PATCH_SIZE // 8
    last = backbone.blocks[-1]
    last.norm1 = _NormWithPatchMap(last.norm1, (num_frames // _PATCH_STRIDE, side, side))
    backbone.head = nn.Identity()  # (B, 3, T, H, W) to (B, 768)
    return VideoModel(options, backbone, 768, num_classes)


ARCHITECTURE = Architecture(
    name="mvit_v2_s",
    options_type=MViTV2SOptions,
    build=_build,
    frame_counts=range(4, 65, 2),
    # Patches of 4 pixels, then three times half the resolution.
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
    # The classifier reads only the class token of the last block. Its patches last have an effect in its attention.
    pool=lambda model: model.backbone.blocks[-1].norm1.patches,
    # torchvision's `KINETICS400_V1`: 80.8 % top-1 per clip of 16 frames at 224², the input on which they work best.
    weights={"kinetics400": DownloadableWeights("https://download.pytorch.org/models/mvit_v2_s-ae3be167.pth")},
)
