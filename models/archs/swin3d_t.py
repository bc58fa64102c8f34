"""Video Swin Transformer, tiny: attention within shifted 3-D windows (Liu et al. 2021, arXiv 2106.13230)."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from torch import nn

from models.architecture import IMAGENET_MEAN_STD, Architecture, DownloadableWeights
from models.options import DropRate
from models.video_model import VideoModel, VideoOptions


@dataclass(frozen=True, kw_only=True)
class Swin3DTOptions(VideoOptions):
    """Options of `swin3d_t`."""

    stochastic_depth: DropRate = 0.1
    """Probability that a clip skips the last block in training; it rises linearly from 0 at the first block."""


def _build(options: Swin3DTOptions, num_classes: int, num_frames: int, size: int) -> VideoModel:
    from torchvision.models.video import swin3d_t
    from torchvision.ops import StochasticDepth

    backbone = swin3d_t(weights=None)
    # torchvision's builder has no argument for it.
    skips = [module for module in backbone.modules() if isinstance(module, StochasticDepth)]
    for number, skip in enumerate(skips):
        skip.p = options.stochastic_depth * number / (len(skips) - 1)
    backbone.head = nn.Identity()  # (B, 3, T, H, W) to (B, 768)
    return VideoModel(options, backbone, 768, num_classes)


ARCHITECTURE = Architecture(
    name="swin3d_t",
    options_type=Swin3DTOptions,
    build=_build,
    frame_counts=range(2, 65, 2),
    # Below 224 the last stage is smaller than a window, and torchvision then looks up wrong relative positions.
    sizes=range(224, 449, 32),
    default_input=(32, 224),
    mean=IMAGENET_MEAN_STD[0],
    std=IMAGENET_MEAN_STD[1],
    # Even numbers are the blocks of a stage, odd numbers merge patches between stages.
    stages=(
        "backbone.patch_embed.",
        *(f"backbone.features.{number}." for number in range(7)),
        "backbone.norm.",
    ),
    pool=attrgetter("backbone.avgpool"),
    # torchvision's `KINETICS400_V1`: 77.7 % top-1 per clip of 32 frames.
    weights={"kinetics400": DownloadableWeights("https://download.pytorch.org/models/swin3d_t-7615ae03.pth")},
)
