"""R(2+1)D-18, a residual network that convolves over space, then over time (Tran et al. 2017, arXiv 1711.11248)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from models.architecture import KINETICS, Architecture, Download
from models.video import RESNET_STAGES, VideoModel, VideoOptions


@dataclass(frozen=True, kw_only=True)
class R2Plus1D18Config(VideoOptions):
    """Options of `r2plus1d_18`."""


def _build(config: R2Plus1D18Config, num_classes: int, num_frames: int, size: int) -> VideoModel:
    from torchvision.models.video import r2plus1d_18

    backbone = r2plus1d_18(weights=None)
    backbone.fc = nn.Identity()  # (B, 3, T, H, W) to (B, 512)
    return VideoModel(config, backbone, 512, num_classes)


ARCHITECTURE = Architecture(
    name="r2plus1d_18",
    config=R2Plus1D18Config,
    build=_build,
    frame_counts=range(2, 129),
    sizes=range(32, 513),
    default=(16, 112),
    mean=KINETICS[0],
    std=KINETICS[1],
    stages=RESNET_STAGES,
    # torchvision's `KINETICS400_V1`, 67.5 % top-1 by clips of 16 frames.
    weights={"kinetics400": Download("https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth")},
)
