"""ResNet18 on each frame (He et al. 2015, arXiv 1512.03385), temporal pooling, two fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from torch import nn

from models.architecture import IMAGENET_MEAN_STD, Architecture, DownloadableWeights
from models.frame_model import FrameModel, FrameOptions

RESNET_STAGES = tuple(f"backbone.{part}." for part in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"))
"""Stages of all torchvision ResNets."""

RESNET18_WEIGHTS = {"imagenet": DownloadableWeights("https://download.pytorch.org/models/resnet18-f37072fd.pth")}
"""torchvision's `IMAGENET1K_V1`: 69.8 % top-1."""


@dataclass(frozen=True, kw_only=True)
class ResNet18Options(FrameOptions):
    """Options of `resnet18`."""


def resnet18_backbone() -> nn.Module:
    """Return torchvision's ResNet18 without its classifier: images `(N, 3, H, W)` to features `(N, 512)`."""
    from torchvision.models import resnet18

    network = resnet18(weights=None)
    network.fc = nn.Identity()
    return network


def _build(options: ResNet18Options, num_classes: int, num_frames: int, size: int) -> FrameModel:
    return FrameModel(options, resnet18_backbone(), 512, num_classes, num_frames)


ARCHITECTURE = Architecture(
    name="resnet18",
    options_type=ResNet18Options,
    build=_build,
    frame_counts=range(1, 129),
    sizes=range(32, 513),
    default_input=(8, 224),
    mean=IMAGENET_MEAN_STD[0],
    std=IMAGENET_MEAN_STD[1],
    stages=RESNET_STAGES,
    pool=attrgetter("backbone.avgpool"),
    weights=RESNET18_WEIGHTS,
)
