"""The description of an architecture: its input, its options, its weights, and how to build it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import nn

from models.clip_model import ClipModel
from models.errors import ModelError
from models.options import ModelOptions

RGB = tuple[float, float, float]
"""A value for each channel: red, green, blue."""

IMAGENET_MEAN_STD: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the input of torchvision's ImageNet models."""

KINETICS_MEAN_STD: tuple[RGB, RGB] = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Mean and standard deviation of the input of torchvision's convolutional Kinetics models."""

PRETRAINED_REQUIREMENTS = "requirements-pretrained.txt"
"""Requirements of the architectures and weights that need an optional package."""

StateDict = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class DownloadableWeights:
    """A weight file on the web."""

    url: str
    """Its file name ends in a hyphen and the first digits of the file's SHA-256."""


@dataclass(frozen=True)
class PackagedWeights:
    """A weight file inside an installed Python package."""

    package: str
    """Import name of the package."""
    file: str
    """Path inside the package; the file name ends in a hyphen and the first digits of the file's SHA-256."""


class WeightEntry(NamedTuple):
    """One tensor of a weight file, translated for an architecture."""

    key: str
    """The architecture's own key, with or without the prefix `backbone.`."""
    value: torch.Tensor


def keep_keys(state: StateDict) -> dict[str, WeightEntry]:
    """Translate a weight file whose keys are the architecture's own."""
    return {key: WeightEntry(key, value) for key, value in state.items()}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture: which input it takes, which options and weights it has, and how to build it."""

    name: str
    options_type: type[ModelOptions]
    """Dataclass of its options."""
    build: Callable[[Any, int, int, int], ClipModel]
    """Build a module from clips `(B, T, 3, H, W)` to logits `(B, K)`, given the options, the number of classes K, the
    frame count T and the size H = W."""
    frame_counts: range
    """Valid frame counts."""
    sizes: range
    """Valid heights and widths in pixels."""
    default_input: tuple[int, int]
    """Frame count and size that its weights were trained on, or that its paper uses."""
    mean: RGB
    """Mean of each channel, subtracted from frames in `[0, 1]`."""
    std: RGB
    """Standard deviation of each channel; frames are divided by it after the mean is subtracted."""
    stages: tuple[str, ...]
    """Prefixes of the backbone's parameter names from input to output, each with its final dot. Every parameter outside
    the head starts with exactly one of them. A convolution or norm between two blocks is a stage of its own."""
    pool: Callable[[Any], nn.Module]
    """Return the module of a model that pools the last feature map. Grad-CAM reads its input, which is
    `(B, C, T', H', W')`, or `(B*T, C, H', W')` if the network is applied to each frame."""
    head_prefix: str = "head."
    """Prefix of the parameters that depend on the classes or that no weights contain: they start at random."""
    head_options: frozenset[str] = frozenset({"hidden", "dropout", "temporal", "temporal_width"})
    """Options that change the head alone, so that models that differ in them have the same features."""
    weights: Mapping[str, DownloadableWeights | PackagedWeights] = field(default_factory=dict)
    """Pretrained weights by name; `fetch` takes the first by default. `none`, files and folders are always valid."""
    translate: Callable[[StateDict], Mapping[str, WeightEntry]] = keep_keys
    """Translate a published weight file: its keys to the architecture's own keys and values."""
    requires: str = ""
    """Import name of an optional package that the architecture needs."""

    def check(self, num_frames: int, size: int) -> None:
        """Raise ModelError if the architecture cannot take this input or cannot be built.

        Raises:
            ModelError: the frame count or the size is not valid, or a package is missing.
        """
        if num_frames not in self.frame_counts:
            raise ModelError(f"{self.name} can't take {num_frames} frames: it takes {format_range(self.frame_counts)}")
        if size not in self.sizes:
            raise ModelError(f"{self.name} can't take frames of size {size}: it takes {format_range(self.sizes)}")
        check_installed(self.name, self.requires)


def check_installed(what: str, package: str) -> None:
    """Raise ModelError if an optional package is missing.

    Args:
        what: what needs the package, for the message.
        package: import name of the package; empty if none is needed.

    Raises:
        ModelError: the package is not installed.
    """
    if package and find_spec(package) is None:
        raise ModelError(f"{what} needs the package {package}: pip install -r {PRETRAINED_REQUIREMENTS}")


def format_range(values: range) -> str:
    """Format a range of valid values for messages and tables, such as `multiples of 8 from 8 to 64`."""
    step = f"multiples of {values.step} from " if values.step > 1 else ""
    return f"{step}{values[0]} to {values[-1]}"
