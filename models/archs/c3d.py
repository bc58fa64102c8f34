"""C3D: eight 3-D convolutions over space and time (Tran et al. 2015, arXiv 1412.0767)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from models.architecture import KINETICS_MEAN_STD, Architecture, DownloadableWeights, StateDict, WeightEntry
from models.clip_model import ClipModel
from models.conv3d import PaddedConv3d
from models.errors import ModelError
from models.options import DropRate, ModelOptions, Width

# Output channels of each convolution as multiples of the first's, and after which ones a pool ends a stage.
_WIDTHS = (1, 2, 4, 4, 8, 8, 8, 8)
_POOL_AFTER = (0, 1, 3, 5, 7)

# Names of the convolutions in other implementations, and the index in our head of their fully connected layers.
_CONVOLUTIONS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
_FULLY_CONNECTED = {"fc6": 1, "fc7": 4, "fc8": 7, "classifier.0": 1, "classifier.3": 4, "classifier.6": 7}


@dataclass(frozen=True, kw_only=True)
class C3DOptions(ModelOptions):
    """Options of `c3d`. The paper subtracts the mean of all training clips; `subtract_mean_frame` subtracts each clip's
    own."""

    batch_norm: bool = False
    """Batch norm after each convolution; not in the paper."""

    width: Width = 64
    """Channels of the first convolution; all others scale with it. 64 in the paper."""

    fc: Width = 4096
    """Width of the two hidden fully connected layers; only for `head: fc`."""

    dropout: DropRate = 0.5
    """Dropout rate before the last layer and, with `head: fc`, before the layer in front of it."""

    head: Literal["fc", "pool"] = "fc"
    """`fc`: the paper's three fully connected layers. `pool`: average over space and time, then one layer."""

    def __post_init__(self) -> None:
        if self.head == "pool" and self.fc != 4096:
            raise ModelError(f"fc ({self.fc}) has no effect with head: pool; leave it out, or set head: fc")


class C3D(ClipModel):
    """C3D for a fixed frame count and size. With the defaults, 16 frames of 112², it is the paper's network.

    The frame count is a multiple of 8, because a pool drops the last frame of an odd length.
    """

    def __init__(self, options: C3DOptions, num_classes: int, num_frames: int, size: int) -> None:
        super().__init__(options)
        stages: list[nn.Module] = []
        layers: list[nn.Module] = []
        before, shape = 3, (num_frames, size, size)
        for number, factor in enumerate(_WIDTHS):
            channels = factor * options.width
            layers.append(PaddedConv3d(before, channels, 3, padding=1, bias=not options.batch_norm))
            layers += [nn.BatchNorm3d(channels)] if options.batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            before = channels
            if number in _POOL_AFTER:
                pool, shape = _pool(_POOL_AFTER.index(number), shape)
                stages.append(nn.Sequential(*layers, pool))
                layers = []
        self.features = nn.Sequential(*stages)
        self.head = _head(options, before, shape, num_classes)
        self.apply(_initialise)
        self.register_load_state_dict_pre_hook(_rename_old_keys)

    def run_backbone(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, C, T', H', W')`."""
        return self.features(frames.transpose(1, 2))


def _pool(number: int, shape: tuple[int, int, int]) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return the paper's pool and the shape after it. A length of 1 is not pooled, so that 8 frames are enough."""
    time, height, width = shape
    over_time = 2 if number > 0 and time > 1 else 1
    padding = 1 if number == 4 else 0
    pool = nn.MaxPool3d((over_time, 2, 2), padding=(0, padding, padding))
    return pool, (time // over_time, (height + 2 * padding) // 2, (width + 2 * padding) // 2)


def _head(options: C3DOptions, channels: int, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    if options.head == "pool":
        return nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(options.dropout), nn.Linear(channels, num_classes)
        )
    inputs = channels * shape[0] * shape[1] * shape[2]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, options.fc),
        nn.ReLU(inplace=True),
        nn.Dropout(options.dropout),
        nn.Linear(options.fc, options.fc),
        nn.ReLU(inplace=True),
        nn.Dropout(options.dropout),
        nn.Linear(options.fc, num_classes),
    )


def _initialise(module: nn.Module) -> None:
    """Apply He initialisation (arXiv 1502.01852).

    Without batch norm, PyTorch's default shrinks the signal more than a hundredfold from the first convolution to the
    last. With the original recipe for the fully connected layers (standard deviations 0.005 and 0.01), the loss of a
    narrow network does not fall for dozens of steps.
    """
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _translate(state: StateDict) -> dict[str, WeightEntry]:
    """Translate weight files of other implementations, and our own files from before `features` had stages.

    Others name the convolutions `conv1` … `conv5b` (or `conv1a`, with the suffix `.conv`) and the fully connected
    layers `fc6` … `fc8`, or number them `features.0` … and `classifier.0` …. All have the Sports-1M weights of the
    authors' Caffe release. Its input is BGR from 0 to 255 minus the mean of all training clips. The first convolution
    is converted to our input; the two means differ by little.
    """
    flat = _names_with_stages(state)
    numbered = any(key.startswith("classifier.") for key in state)
    entries = {}
    for key, value in state.items():
        layer, _, last = key.rpartition(".")
        own, convolution = _own_layer(layer)
        first = convolution == 0 or (numbered and layer == "features.0")
        entries[key] = WeightEntry(
            f"{own}.{last}" if own else flat.get(key, key), _from_caffe(value) if first and last == "weight" else value
        )
    return entries


def _own_layer(layer: str) -> tuple[str, int | None]:
    """Return our name of a named layer of another implementation and, for a convolution, its number from 0."""
    if layer in _FULLY_CONNECTED:
        return f"head.{_FULLY_CONNECTED[layer]}", None
    bare = layer.removesuffix(".conv")
    bare = bare.removesuffix("a") if bare in ("conv1a", "conv2a") else bare
    if bare not in _CONVOLUTIONS:
        return "", None
    number = _CONVOLUTIONS.index(bare)
    convolutions = [name for name, kind in _layers(batch_norm=False) if kind == "convolution"]
    return convolutions[number], number


def _from_caffe(weight: torch.Tensor) -> torch.Tensor:
    """Convert the weight of the first convolution from BGR in [0, 255] to normalised RGB."""
    if weight.dim() != 5 or weight.shape[1] != 3:
        return weight
    return weight.flip(1) * 255 * torch.tensor(ARCHITECTURE.std).reshape(3, 1, 1, 1)


def _layers(*, batch_norm: bool) -> list[tuple[str, str]]:
    """Return name and kind of each layer of `features`, in order."""
    stage, index, layers = 0, 0, []
    for number in range(len(_WIDTHS)):
        kinds = ["convolution", *(["norm"] if batch_norm else []), "activation"]
        kinds += ["pool"] if number in _POOL_AFTER else []
        for kind in kinds:
            layers.append((f"features.{stage}.{index}", kind))
            index += 1
        if number in _POOL_AFTER:
            stage, index = stage + 1, 0
    return layers


def _names_with_stages(keys: Iterable[str], prefix: str = "") -> dict[str, str]:
    """Map keys `features.LAYER.…`, from before `features` had stages, to `features.STAGE.LAYER.…`."""
    found = {key: re.fullmatch(rf"{re.escape(prefix)}features\.(\d+)\.([a-z_]+)", key) for key in keys}
    flat = {key: (int(match[1]), match[2]) for key, match in found.items() if match is not None}
    layers = _layers(batch_norm=any(last == "running_mean" for _, last in flat.values()))
    return {key: f"{prefix}{layers[number][0]}.{last}" for key, (number, last) in flat.items() if number < len(layers)}


def _rename_old_keys(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for old, new in _names_with_stages(state, prefix).items():
        state[new] = state.pop(old)


ARCHITECTURE = Architecture(
    name="c3d",
    options_type=C3DOptions,
    build=C3D,
    frame_counts=range(8, 65, 8),
    sizes=range(48, 225),
    default_input=(16, 112),
    mean=KINETICS_MEAN_STD[0],
    std=KINETICS_MEAN_STD[1],
    stages=tuple(f"features.{number}." for number in range(len(_POOL_AFTER))),
    pool=lambda model: model.features[-1][-1],
    head_options=frozenset({"dropout", "fc", "head"}),
    # The authors' weights, converted by MMAction2.
    weights={
        "sports1m": DownloadableWeights(
            "https://download.openmmlab.com/mmaction/recognition/c3d/c3d_sports1m_pretrain_20201016-dcc47ddc.pth"
        )
    },
    translate=_translate,
)
