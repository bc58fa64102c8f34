"""ResNet50 on each frame (He et al. 2015, arXiv 1512.03385), temporal pooling, two fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from torch import nn

from models.architecture import IMAGENET_MEAN_STD, Architecture, DownloadableWeights
from models.archs.resnet18 import RESNET_STAGES
from models.frame_model import FrameModel, FrameOptions


@dataclass(frozen=True, kw_only=True)
class ResNet50Options(FrameOptions):
    """Options of `resnet50`."""


def _build(options: ResNet50Options, num_classes: int, num_frames: int, size: int) -> FrameModel:
    from torchvision.models import resnet50

    backbone = resnet50(weights=None)
    backbone.fc = nn.Identity()
    return FrameModel(options, backbone, 2048, num_classes, num_frames)


ARCHITECTURE = Architecture(
    name="resnet50",
    options_type=ResNet50Options,
    build=_build,
    frame_counts=range(1, 129),
    sizes=range(32, 513),
    default_input=(8, 224),
    mean=IMAGENET_MEAN_STD[0],
    std=IMAGENET_MEAN_STD[1],
    stages=RESNET_STAGES,
    pool=attrgetter("backbone.avgpool"),
    # torchvision's `IMAGENET1K_V2` (80.9 % top-1, a longer recipe) and `IMAGENET1K_V1` (76.1 %).
    weights={
        "imagenet": DownloadableWeights("https://download.pytorch.org/models/resnet50-11ad3fa6.pth"),
        "imagenet_v1": DownloadableWeights("https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    },
)
