"""The architectures by name: what each can take, and the one function that builds them.

A new architecture is one file with a config dataclass and a module, and one entry in `ARCHITECTURES`. The module calls
what depends on the classes `head`, and a torchvision network that it wraps whole `backbone`: weight files go by that.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import nn

from models.c3d import C3D, C3DConfig
from models.errors import ModelError
from models.resnet18 import ResNet18Average, ResNet18Config

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Architecture:
    """What is known of an architecture before it is built."""

    name: str
    config: type
    """Dataclass of its options."""
    build: Callable[[Any, int, int, int], nn.Module]
    """From a config, the number of classes, the frame count and the size to a module `(B,T,3,H,W)` to `(B,K)`."""
    frame_counts: range
    """Frame counts that it takes."""
    sizes: range
    """Heights and widths in pixels that it takes."""
    mean: Colour
    """Subtracted from frames in `[0, 1]`, a channel each."""
    std: Colour
    """Frames are divided by it after that."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Pretrained weights beside `none` and a file: name to URL, whose file name ends in the start of its SHA-256."""

    def check(self, num_frames: int, size: int) -> None:
        """Refuse what the architecture can't take.

        Raises:
            ModelError: the frame count or the size is not one of its own.
        """
        if num_frames not in self.frame_counts:
            raise ModelError(f"{self.name} can't take {num_frames} frames: it takes {_spelled(self.frame_counts)}")
        if size not in self.sizes:
            raise ModelError(f"{self.name} can't take frames of size {size}: it takes {_spelled(self.sizes)}")


ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture(
        "resnet18",
        ResNet18Config,
        lambda config, num_classes, num_frames, size: ResNet18Average(config, num_classes),
        range(1, 129),
        range(32, 513),
        *_IMAGENET,
        weights={"imagenet": "https://download.pytorch.org/models/resnet18-f37072fd.pth"},
    ),
    "c3d": Architecture("c3d", C3DConfig, C3D, range(8, 65, 8), range(48, 225), *_KINETICS),
}


def _spelled(values: range) -> str:
    step = f"multiples of {values.step} from " if values.step > 1 else ""
    return f"{step}{values[0]} to {values[-1]}"


def architecture(name: str) -> Architecture:
    """Look an architecture up.

    Raises:
        ModelError: there is none of this name; the nearest is named.
    """
    if name not in ARCHITECTURES:
        raise ModelError(f"no architecture is called {name!r}{_nearest(name, list(ARCHITECTURES))}")
    return ARCHITECTURES[name]


def parse_options(name: str, options: Mapping[str, Any]) -> Any:
    """An architecture's options as its config dataclass, typed and checked.

    Raises:
        ModelError: an unknown option (the nearest is named) or a bad value.
    """
    config = architecture(name).config
    valid = [option.name for option in fields(config)]
    for key in options:
        if key not in valid:
            raise ModelError(f"{name} has no option {key!r}{_nearest(str(key), valid)}")
    types, checked = get_type_hints(config), {}
    for key, value in options.items():
        try:
            checked[key] = TypeAdapter(types[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise ModelError(f"{name}'s {key} is {value!r}: {error.errors()[0]['msg']}") from None
    return config(**checked)


def check_input(name: str, options: Mapping[str, Any], num_frames: int, size: int) -> None:
    """Refuse frame counts and sizes that an architecture with these options can't take.

    Raises:
        ModelError: it can't, or the options themselves can't be used.
    """
    architecture(name).check(num_frames, size)
    if parse_options(name, options).subtract_mean_frame and num_frames == 1:
        raise ModelError(
            f"{name} with subtract_mean_frame can't take 1 frame, which less its own mean is nothing: take 2 or more"
        )


def build_model(name: str, options: Mapping[str, Any], *, num_classes: int, num_frames: int, size: int) -> nn.Module:
    """A model with weights drawn from torch's global generator.

    Args:
        name: the architecture.
        options: its options.
        num_classes: K.
        num_frames: T of the clips that it will see.
        size: H and W.

    Returns:
        A module from normalised frames `(B, T, 3, H, W)` to logits `(B, K)`.

    Raises:
        ModelError: an unknown architecture or option, or a frame count or size that it can't take.
    """
    check_input(name, options, num_frames, size)
    return architecture(name).build(parse_options(name, options), num_classes, num_frames, size)


def check_weights(name: str, weights: str) -> None:
    """Refuse weights that this architecture can't have, without reading any.

    Raises:
        ModelError: it is neither `none`, nor a name that the architecture knows, nor looks like a file.
    """
    known = architecture(name).weights
    looks_like_file = "/" in weights or "\\" in weights or bool(Path(weights).suffix)
    if weights != "none" and weights not in known and not looks_like_file:
        raise ModelError(
            f"{name} has no weights {weights!r}: set {', '.join([*known, 'none'])} or the path of a file (with a "
            "suffix or a /)"
        )


def _nearest(word: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(valid)}"
