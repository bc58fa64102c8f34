"""ResNet18 whose blocks shift channels along time: the temporal shift module (Lin et al. 2018, arXiv 1811.08383)."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from models.architecture import IMAGENET_MEAN_STD, Architecture
from models.archs.resnet18 import RESNET18_WEIGHTS, RESNET_STAGES, resnet18_backbone
from models.clip_model import ClipModel
from models.errors import ModelError
from models.frame_model import HeadOptions, classifier_head
from models.temporal_pooling import AveragePooling


@dataclass(frozen=True, kw_only=True)
class TSMResNet18Options(HeadOptions):
    """Options of `tsm_resnet18`."""

    shift: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a block's input channels that are shifted, half of them one frame forwards and half one frame backwards;
    1/4 in the paper."""


class TSMResNet18(ClipModel):
    """torchvision's ResNet18 with temporal shifts for a fixed frame count, averaged over the frames."""

    def __init__(self, options: TSMResNet18Options, num_classes: int, num_frames: int) -> None:
        super().__init__(options)
        self.num_frames = num_frames
        self.backbone = resnet18_backbone()
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for block in self.backbone.get_submodule(stage).children():
                block.conv1 = _ShiftedConv2d(block.get_submodule("conv1"), num_frames, options.shift)
        self.head = classifier_head(AveragePooling(), 512, options, num_classes)

    def run_backbone(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, T, 512)`.

        Raises:
            ModelError: the frame count is not the one that the network was built for. The shift would mix clips.
        """
        if frames.shape[1] != self.num_frames:
            raise ModelError(
                f"tsm_resnet18 was built for clips of {self.num_frames} frames and can't take {frames.shape[1]}"
            )
        features = self.backbone(frames.flatten(0, 1))  # (B*T, 512)
        return features.unflatten(0, frames.shape[:2])


class _ShiftedConv2d(nn.Conv2d):
    """A block's first convolution, applied to the shifted input; the block's residual connection is not shifted.

    This is a subclass and not a layer in front, so that the state-dict keys stay those of torchvision's ResNet18.
    """

    def __init__(self, convolution: nn.Module, num_frames: int, share: float) -> None:
        assert isinstance(convolution, nn.Conv2d)
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            bias=False,
            device="meta",
        )
        self.weight = convolution.weight
        self.num_frames, self.shifted = num_frames, max(1, round(convolution.in_channels * share / 2))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`(B*T, C, H, W)` to `(B*T, C', H', W')`."""
        clips = input.unflatten(0, (-1, self.num_frames))
        return super().forward(temporal_shift(clips, self.shifted).flatten(0, 1))


def temporal_shift(clips: torch.Tensor, channels: int) -> torch.Tensor:
    """Shift channels of `(B, T, C, …)` along time, with zeros at the ends.

    The first `channels` channels of a frame come from the next frame, the next `channels` from the previous frame; the
    rest stay.
    """
    backward, forward, rest = clips.tensor_split((channels, 2 * channels), 2)
    backward = torch.cat([backward[:, 1:], torch.zeros_like(backward[:, :1])], 1)
    forward = torch.cat([torch.zeros_like(forward[:, :1]), forward[:, :-1]], 1)
    return torch.cat([backward, forward, rest], 2)


def _build(options: TSMResNet18Options, num_classes: int, num_frames: int, size: int) -> TSMResNet18:
    return TSMResNet18(options, num_classes, num_frames)


ARCHITECTURE = Architecture(
    name="tsm_resnet18",
    options_type=TSMResNet18Options,
    build=_build,
    # A single frame has no neighbours to shift from.
    frame_counts=range(2, 129),
    sizes=range(32, 513),
    default_input=(8, 224),
    mean=IMAGENET_MEAN_STD[0],
    std=IMAGENET_MEAN_STD[1],
    stages=RESNET_STAGES,
    pool=attrgetter("backbone.avgpool"),
    weights=RESNET18_WEIGHTS,
)
