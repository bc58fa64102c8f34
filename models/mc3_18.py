"""MC3-18, a residual network that mixes convolutions (Tran et al. 2017, arXiv 1711.11248).

Those of the first stages go over space and time, the others over space alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from models.architecture import KINETICS, Architecture, Download
from models.video import RESNET_STAGES, VideoModel, VideoOptions


@dataclass(frozen=True, kw_only=True)
class MC318Config(VideoOptions):
    """Options of `mc3_18`."""


def _build(config: MC318Config, num_classes: int, num_frames: int, size: int) -> VideoModel:
    from torchvision.models.video import mc3_18

    backbone = mc3_18(weights=None)
    backbone.fc = nn.Identity()  # (B, 3, T, H, W) to (B, 512)
    return VideoModel(config, backbone, 512, num_classes)


ARCHITECTURE = Architecture(
    name="mc3_18",
    config=MC318Config,
    build=_build,
    frame_counts=range(2, 129),
    sizes=range(32, 513),
    default=(16, 112),
    mean=KINETICS[0],
    std=KINETICS[1],
    stages=RESNET_STAGES,
    # torchvision's `KINETICS400_V1`, 64.0 % top-1 by clips of 16 frames.
    weights={"kinetics400": Download("https://download.pytorch.org/models/mc3_18-a90a0ba3.pth")},
)
