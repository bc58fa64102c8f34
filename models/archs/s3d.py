"""S3D, an Inception network with separable convolutions over space and time (Xie et al. 2017, arXiv 1712.04851)."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import nn
from torch.nn import functional as F

from models.architecture import KINETICS_MEAN_STD, Architecture, DownloadableWeights
from models.options import DropRate
from models.video_model import VideoModel, VideoOptions

# The layers in between are pools.
_LAYERS_WITH_PARAMETERS = (0, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 15)


@dataclass(frozen=True, kw_only=True)
class S3DOptions(VideoOptions):
    """Options of `s3d`."""

    dropout: DropRate = 0.2
    """Dropout rate before the last layer."""


class _Pool(nn.Module):
    """torchvision's last pool, with a smaller kernel if the feature map is smaller than the kernel."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(B, C, T, H, W)` to `(B, C)`."""
        kernel = [min(size, length) for size, length in zip((2, 7, 7), features.shape[2:], strict=True)]
        return F.avg_pool3d(features, kernel, stride=1).mean((2, 3, 4), keepdim=True)


def _build(options: S3DOptions, num_classes: int, num_frames: int, size: int) -> VideoModel:
    from torchvision.models.video import s3d

    backbone = s3d(weights=None)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm3d):
            # With torchvision's 0.001 the running statistics lag thousands of steps behind the weights in validation.
            module.momentum = 0.1
    backbone.avgpool, backbone.classifier = _Pool(), nn.Identity()  # (B, 3, T, H, W) to (B, 1024)
    return VideoModel(options, backbone, 1024, num_classes)


ARCHITECTURE = Architecture(
    name="s3d",
    options_type=S3DOptions,
    build=_build,
    # Time is halved three times; an odd length would lose its last frame.
    frame_counts=range(8, 129, 8),
    sizes=range(32, 513),
    default_input=(16, 224),
    mean=KINETICS_MEAN_STD[0],
    std=KINETICS_MEAN_STD[1],
    stages=tuple(f"backbone.features.{number}." for number in _LAYERS_WITH_PARAMETERS),
    pool=attrgetter("backbone.avgpool"),
    # torchvision's `KINETICS400_V1`: 68.4 % top-1, trained at 224².
    weights={"kinetics400": DownloadableWeights("https://download.pytorch.org/models/s3d-d76dad2f.pth")},
)
