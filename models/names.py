"""The names of the architectures; imports nothing that takes long, so that a mistyped name is refused at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from models.errors import ModelError

ARCHITECTURE_NAMES = (
    *("resnet18", "resnet50", "efficientnet_lite0"),
    *("tsm_resnet18", "c3d", "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"),
)
"""The files in `models/archs`: first the architectures that process single frames, then those that process frames
together."""


def check_architecture_name(name: str) -> None:
    """Check that there is an architecture of this name.

    Raises:
        ModelError: there is none; the message suggests the nearest.
    """
    if name not in ARCHITECTURE_NAMES:
        raise ModelError(f"no architecture is called {name!r}{nearest_name(name, ARCHITECTURE_NAMES)}")


def nearest_name(word: str, valid: Sequence[str]) -> str:
    """Return the end of a message on an invalid word: the nearest valid word, or all of them."""
    likeness = {known: difflib.SequenceMatcher(None, known, word).ratio() for known in valid}
    nearest = max(valid, key=likeness.__getitem__)  # the first one of a tie
    return f"; did you mean {nearest!r}?" if likeness[nearest] >= 0.5 else f"; there are {', '.join(valid)}"
