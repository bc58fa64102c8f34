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

# How others call the convolutions, and the places of the fully connected layers in our head.
_CONVOLUTIONS = ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
_FULLY_CONNECTED = {"fc6": 1, "fc7": 4, "fc8": 7, "classifier.0": 1, "classifier.3": 4, "classifier.6": 7}


@dataclass(frozen=True, kw_only=True)
class C3DOptions(ModelOptions):
    """Options of `c3d`; where `subtract_mean_frame` takes off each clip's own mean, the paper takes off the mean of all
    training clips."""

    batch_norm: bool = False
    """Batch norm after each convolution; the paper has none."""

    width: Width = 64
    """Channels of the first convolution, the others in proportion; the paper's is 64."""

    fc: Width = 4096
    """Width of the two hidden fully connected layers; for `head: fc` alone."""

    dropout: DropRate = 0.5
    """Share of units dropped in training before the last layer and, with `head: fc`, the one before it."""

    head: Literal["fc", "pool"] = "fc"
    """`fc`: the paper's three fully connected layers. `pool`: the average over space and time, then one layer."""

    def __post_init__(self) -> None:
        if self.head == "pool" and self.fc != 4096:
            raise ModelError(f"fc ({self.fc}) has no effect with head: pool; leave it out, or set head: fc")


class C3D(ClipModel):
    """C3D for one frame count and size; with the defaults, 16 frames of 112x112, the paper's network.

    Frame counts are multiples of 8: an odd length would lose its last frames in a pool.
    """

    def __init__(self, config: C3DOptions, num_classes: int, num_frames: int, size: int) -> None:
        super().__init__(config)
        stages: list[nn.Module] = []
        layers: list[nn.Module] = []
        before, shape = 3, (num_frames, size, size)
        for number, factor in enumerate(_WIDTHS):
            channels = factor * config.width
            layers.append(PaddedConv3d(before, channels, 3, padding=1, bias=not config.batch_norm))
            layers += [nn.BatchNorm3d(channels)] if config.batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            before = channels
            if number in _POOL_AFTER:
                pool, shape = _pool(_POOL_AFTER.index(number), shape)
                stages.append(nn.Sequential(*layers, pool))
                layers = []
        self.features = nn.Sequential(*stages)
        self.head = _head(config, before, shape, num_classes)
        self.apply(_initialise)
        self.register_load_state_dict_pre_hook(_rename_flat)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, H, W)` to `(B, K)`."""
        return self.head(self.features(frames.transpose(1, 2)))


def _pool(number: int, shape: tuple[int, int, int]) -> tuple[nn.Module, tuple[int, int, int]]:
    """The paper's pool and the shape after it; a single frame left is kept, so that 8 frames are enough."""
    time, height, width = shape
    over_time = 2 if number > 0 and time > 1 else 1
    padding = 1 if number == 4 else 0
    pool = nn.MaxPool3d((over_time, 2, 2), padding=(0, padding, padding))
    return pool, (time // over_time, (height + 2 * padding) // 2, (width + 2 * padding) // 2)


def _head(config: C3DOptions, channels: int, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    if config.head == "pool":
        return nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(channels, num_classes)
        )
    inputs = channels * shape[0] * shape[1] * shape[2]
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, config.fc),
        nn.ReLU(inplace=True),
        nn.Dropout(config.dropout),
        nn.Linear(config.fc, config.fc),
        nn.ReLU(inplace=True),
        nn.Dropout(config.dropout),
        nn.Linear(config.fc, num_classes),
    )


def _initialise(module: nn.Module) -> None:
    """He's initialisation (arXiv 1502.01852).

    Without batch norm PyTorch's default lets the signal shrink more than a hundredfold from the first convolution to
    the last, and the Gaussians of 0.005 and 0.01 in the original recipe for the fully connected layers leave a narrow
    network at its first loss for dozens of steps.
    """
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _translate(state: StateDict) -> dict[str, WeightEntry]:
    """Files of the Sports-1M network that others ported, and our own from when `features` had no stages.

    Ports name the convolutions `conv1` … `conv5b` (or `conv1a`, with `.conv` behind) and the fully connected layers
    `fc6` … `fc8`, or number them as `features.0` … and `classifier.0` …. Their weights are those of the authors' Caffe
    release, which takes pixels from 0 to 255 in the order blue, green, red, less the mean of all training clips. The
    first convolution is turned into one for what we feed it; that mean and ours are nearly the same colour.
    """
    flat = _flat_names(state)
    numbered = any(key.startswith("classifier.") for key in state)
    entries = {}
    for key, value in state.items():
        layer, _, last = key.rpartition(".")
        own, ported = _ports_layer(layer)
        first = ported == 0 or (numbered and layer == "features.0")
        entries[key] = WeightEntry(
            f"{own}.{last}" if own else flat.get(key, key), _from_caffe(value) if first and last == "weight" else value
        )
    return entries


def _ports_layer(layer: str) -> tuple[str, int | None]:
    """Our name of a layer that others named, and which convolution it is."""
    if layer in _FULLY_CONNECTED:
        return f"head.{_FULLY_CONNECTED[layer]}", None
    bare = layer.removesuffix(".conv")
    bare = bare.removesuffix("a") if bare in ("conv1a", "conv2a") else bare
    if bare not in _CONVOLUTIONS:
        return "", None
    number = _CONVOLUTIONS.index(bare)
    places = [name for name, layer_kind in _layers(batch_norm=False) if layer_kind == "convolution"]
    return places[number], number


def _from_caffe(weight: torch.Tensor) -> torch.Tensor:
    if weight.dim() != 5 or weight.shape[1] != 3:
        return weight
    return weight.flip(1) * 255 * torch.tensor(ARCHITECTURE.std).reshape(3, 1, 1, 1)


def _layers(*, batch_norm: bool) -> list[tuple[str, str]]:
    """Names and kinds of the layers of `features`, in order."""
    stage, within, layers = 0, 0, []
    for number in range(len(_WIDTHS)):
        kinds = ["convolution", *(["norm"] if batch_norm else []), "activation"]
        kinds += ["pool"] if number in _POOL_AFTER else []
        for kind in kinds:
            layers.append((f"features.{stage}.{within}", kind))
            within += 1
        if number in _POOL_AFTER:
            stage, within = stage + 1, 0
    return layers


def _flat_names(keys: Iterable[str], prefix: str = "") -> dict[str, str]:
    """For keys from when `features` had no stages, today's."""
    found = {key: re.fullmatch(rf"{re.escape(prefix)}features\.(\d+)\.([a-z_]+)", key) for key in keys}
    flat = {key: (int(match[1]), match[2]) for key, match in found.items() if match is not None}
    layers = _layers(batch_norm=any(last == "running_mean" for _, last in flat.values()))
    return {key: f"{prefix}{layers[number][0]}.{last}" for key, (number, last) in flat.items() if number < len(layers)}


def _rename_flat(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for old, new in _flat_names(state, prefix).items():
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
    # MMAction2's port of the authors' weights.
    weights={
        "sports1m": DownloadableWeights(
            "https://download.openmmlab.com/mmaction/recognition/c3d/c3d_sports1m_pretrain_20201016-dcc47ddc.pth"
        )
    },
    translate=_translate,
)
