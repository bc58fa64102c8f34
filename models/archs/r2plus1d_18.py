"""R(2+1)D-18, a residual network that convolves over space, then over time (Tran et al. 2017, arXiv 1711.11248)."""

from __future__ import annotations

from dataclasses import dataclass

from models.video_model import VideoOptions, video_resnet


@dataclass(frozen=True, kw_only=True)
class R2Plus1D18Options(VideoOptions):
    """Options of `r2plus1d_18`."""


# torchvision's `KINETICS400_V1`: 67.5 % top-1 per clip of 16 frames.
ARCHITECTURE = video_resnet(
    "r2plus1d_18", R2Plus1D18Options, "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth"
)
