"""ResNet50 on each frame (He et al. 2015, arXiv 1512.03385), a temporal head, two fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from torch import nn

from models.architecture import IMAGENET, Architecture, Download
from models.archs.resnet18 import STAGES
from models.frames import FrameModel, FrameOptions


@dataclass(frozen=True, kw_only=True)
class ResNet50Config(FrameOptions):
    """Options of `resnet50`."""


def _build(config: ResNet50Config, num_classes: int, num_frames: int, size: int) -> FrameModel:
    from torchvision.models import resnet50

    backbone = resnet50(weights=None)
    backbone.fc = nn.Identity()
    return FrameModel(config, backbone, 2048, num_classes, num_frames)


ARCHITECTURE = Architecture(
    name="resnet50",
    config=ResNet50Config,
    build=_build,
    frame_counts=range(1, 129),
    sizes=range(32, 513),
    default=(8, 224),
    mean=IMAGENET[0],
    std=IMAGENET[1],
    stages=STAGES,
    pool=attrgetter("backbone.avgpool"),
    # torchvision's `IMAGENET1K_V2` (80.9 % top-1, a longer recipe) and `IMAGENET1K_V1` (76.1 %).
    weights={
        "imagenet": Download("https://download.pytorch.org/models/resnet50-11ad3fa6.pth"),
        "imagenet_v1": Download("https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    },
)
