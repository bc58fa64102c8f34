"""The architectures by name, and the one function that builds them.

A new architecture is one file with a config dataclass, a module and its `ARCHITECTURE`, and its name in `_FILES`.
The module calls what depends on the classes `head`, and a network of others that it wraps whole `backbone`: weight
files go by that.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from models.architecture import Architecture
from models.archs import (
    c3d,
    efficientnet_lite0,
    mc3_18,
    mvit_v2_s,
    r2plus1d_18,
    r3d_18,
    resnet18,
    resnet50,
    s3d,
    swin3d_t,
    tsm_resnet18,
)
from models.clip_model import ClipModel
from models.errors import ModelError

_FILES = (
    *(resnet18, resnet50, efficientnet_lite0),
    *(tsm_resnet18, c3d, r3d_18, mc3_18, r2plus1d_18, s3d, mvit_v2_s, swin3d_t),
)

ARCHITECTURES: dict[str, Architecture] = {file.ARCHITECTURE.name: file.ARCHITECTURE for file in _FILES}
"""Those that look at frames one by one first, then those that see time."""


def get_architecture(name: str) -> Architecture:
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
        ModelError: an unknown option (the nearest is named), a bad value, or one that has no effect.
    """
    options_type = get_architecture(name).options_type
    valid = [option.name for option in fields(options_type)]
    for key in options:
        if key not in valid:
            raise ModelError(f"{name} has no option {key!r}{_nearest(str(key), valid)}")
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
    """Refuse frame counts and sizes that an architecture with these options can't take.

    Raises:
        ModelError: it can't, the options themselves can't be used, or a package is missing that it needs.
    """
    get_architecture(name).check(num_frames, size)
    if parse_options(name, options).subtract_mean_frame and num_frames == 1:
        raise ModelError(
            f"{name} with subtract_mean_frame can't take 1 frame, which less its own mean is nothing: take 2 or more"
        )


def build_model(name: str, options: Mapping[str, Any], *, num_classes: int, num_frames: int, size: int) -> ClipModel:
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
        ModelError: an unknown architecture or option, a frame count or size that it can't take, or a package is missing
            that it needs.
    """
    check_input(name, options, num_frames, size)
    return get_architecture(name).build(parse_options(name, options), num_classes, num_frames, size)


def check_weights(name: str, weights: str) -> None:
    """Refuse weights that this architecture can't have, without reading any.

    Raises:
        ModelError: it is neither `none`, nor a name that the architecture knows, nor looks like a file or folder.
    """
    known = get_architecture(name).weights
    looks_like_path = "/" in weights or "\\" in weights or bool(Path(weights).suffix)
    if weights != "none" and weights not in known and not looks_like_path:
        raise ModelError(
            f"{name} has no weights {weights!r}: set {', '.join([*known, 'none'])} or the path of a file or of a "
            "champion's folder (with a suffix or a /)"
        )


def _nearest(word: str, valid: list[str]) -> str:
    likeness = {known: difflib.SequenceMatcher(None, known, word).ratio() for known in valid}
    near = max(valid, key=likeness.__getitem__)  # the first of those that are equally near
    return f"; did you mean {near!r}?" if likeness[near] >= 0.5 else f"; there are {', '.join(valid)}"
