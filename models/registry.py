"""The architectures by name, and the function that builds a model.

To add an architecture, write a file in `models/archs/` with an options dataclass, a module and its `ARCHITECTURE`, and
add its name to
`models/names.py`. The module calls the layers that depend on the classes `head`, and a wrapped network
`backbone`: loading weights relies on these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from models.architecture import Architecture
from models.clip_model import ClipModel
from models.errors import ModelError
from models.names import ARCHITECTURE_NAMES, check_architecture_name, nearest_name
from models.weight_names import is_weights_path

ARCHITECTURES: dict[str, Architecture] = {
    name: import_module(f"models.archs.{name}").ARCHITECTURE for name in ARCHITECTURE_NAMES
}
"""All architectures by name, in the order of ARCHITECTURE_NAMES."""


def get_architecture(name: str) -> Architecture:
    """Return the architecture of this name.

    Raises:
        ModelError: no architecture has this name; the message suggests the nearest.
    """
    check_architecture_name(name)
    return ARCHITECTURES[name]


def parse_options(name: str, options: Mapping[str, Any]) -> Any:
    """Validate an architecture's options and return them as its options dataclass.

    Raises:
        ModelError: an option is unknown (the message suggests the nearest), has an invalid value, or has no effect.
    """
    options_type = get_architecture(name).options_type
    valid = [option.name for option in fields(options_type)]
    for key in options:
        if key not in valid:
            raise ModelError(f"{name} has no option {key!r}{nearest_name(str(key), valid)}")
    types, checked = get_type_hints(options_type, include_extras=True), {}
    for key, value in options.items():
        try:
            checked[key] = TypeAdapter(types[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise ModelError(f"{name}'s {key} is {value!r}: {error.errors()[0]['msg']}") from None
    try:
        return options_type(**checked)
    except ModelError as error:
        raise ModelError(f"{name}'s {error}") from None


def check_input(name: str, options: Mapping[str, Any], num_frames: int, size: int) -> None:
    """Raise ModelError if an architecture with these options cannot take this input.

    Raises:
        ModelError: the frame count, the size or an option is not valid, or a package is missing.
    """
    get_architecture(name).check(num_frames, size)
    if parse_options(name, options).subtract_mean_frame and num_frames == 1:
        raise ModelError(f"{name} with subtract_mean_frame can't take 1 frame: it needs at least 2")


def build_model(name: str, options: Mapping[str, Any], *, num_classes: int, num_frames: int, size: int) -> ClipModel:
    """Build a model with weights drawn from torch's global generator.

    Args:
        name: the architecture.
        options: its options.
        num_classes: K.
        num_frames: T, the frame count of its clips.
        size: H and W of its frames, in pixels.

    Returns:
        A module from normalised frames `(B, T, 3, H, W)` to logits `(B, K)`.

    Raises:
        ModelError: the architecture or an option is unknown, the frame count or the size is not valid, or a package is
            missing.
    """
    check_input(name, options, num_frames, size)
    return get_architecture(name).build(parse_options(name, options), num_classes, num_frames, size)


def check_weights(name: str, weights: str) -> None:
    """Raise ModelError if `weights` is not valid for an architecture; does not read any file.

    Raises:
        ModelError: `weights` is neither `none`, nor a name that the architecture has, nor the path of a file or folder.
    """
    known = get_architecture(name).weights
    if weights != "none" and weights not in known and not is_weights_path(weights):
        raise ModelError(
            f"{name} has no weights {weights!r}: set {', '.join([*known, 'none'])} or the path of a file or of a "
            "champion's folder (with a suffix or a /)"
        )
