"""R3D-18, a residual network that convolves over space and time jointly (Tran et al. 2017, arXiv 1711.11248)."""

from __future__ import annotations

from dataclasses import dataclass

from models.video_model import VideoOptions, video_resnet


@dataclass(frozen=True, kw_only=True)
class R3D18Options(VideoOptions):
    """Options of `r3d_18`."""


# torchvision's `KINETICS400_V1`: 63.2 % top-1 per clip of 16 frames.
ARCHITECTURE = video_resnet("r3d_18", R3D18Options, "https://download.pytorch.org/models/r3d_18-b3b3357e.pth")
