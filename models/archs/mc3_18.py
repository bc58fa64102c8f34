"""MC3-18, a residual network with mixed convolutions (Tran et al. 2017, arXiv 1711.11248).

The first stages convolve over space and time, the others over space only.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.video_model import VideoOptions, video_resnet


@dataclass(frozen=True, kw_only=True)
class MC318Options(VideoOptions):
    """Options of `mc3_18`."""


# torchvision's `KINETICS400_V1`: 64.0 % top-1 per clip of 16 frames.
ARCHITECTURE = video_resnet("mc3_18", MC318Options, "https://download.pytorch.org/models/mc3_18-a90a0ba3.pth")
