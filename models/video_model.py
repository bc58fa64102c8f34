"""torchvision's video networks with a classifier of our own."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import nn

from models.architecture import KINETICS_MEAN_STD, Architecture, DownloadableWeights
from models.clip_model import ClipModel
from models.conv3d import use_padded_conv3d
from models.options import DropRate, ModelOptions


@dataclass(frozen=True, kw_only=True)
class VideoOptions(ModelOptions):
    """Options of video networks."""

    dropout: DropRate = 0.5
    """Dropout rate before the last layer."""


class VideoModel(ClipModel):
    """A video network without its classifier, and one fully connected layer."""

    def __init__(self, options: VideoOptions, backbone: nn.Module, features: int, num_classes: int) -> None:
        super().__init__(options)
        self.backbone = use_padded_conv3d(backbone)
        self.head = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(features, num_classes))

    def run_backbone(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, D)`."""
        return self.backbone(frames.transpose(1, 2))


def video_resnet(name: str, options_type: type[VideoOptions], kinetics400: str) -> Architecture:
    """Return the `Architecture` of one of torchvision's video ResNets (Tran et al. 2017, arXiv 1711.11248).

    Args:
        name: name of the architecture and of torchvision's builder function.
        options_type: dataclass of its options.
        kinetics400: URL of torchvision's `KINETICS400_V1` weights, trained on clips of 16 frames.
    """

    def build(options: VideoOptions, num_classes: int, num_frames: int, size: int) -> VideoModel:
        import torchvision.models.video

        backbone = getattr(torchvision.models.video, name)(weights=None)
        backbone.fc = nn.Identity()  # (B, 3, T, H, W) to (B, 512)
        return VideoModel(options, backbone, 512, num_classes)

    return Architecture(
        name=name,
        options_type=options_type,
        build=build,
        frame_counts=range(2, 129),
        sizes=range(32, 513),
        default_input=(16, 112),
        mean=KINETICS_MEAN_STD[0],
        std=KINETICS_MEAN_STD[1],
        stages=tuple(f"backbone.{part}." for part in ("stem", "layer1", "layer2", "layer3", "layer4")),
        pool=attrgetter("backbone.avgpool"),
        weights={"kinetics400": DownloadableWeights(kinetics400)},
    )
