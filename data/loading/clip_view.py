"""From a clip to the frames that a model is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.errors import DataError
from data.loading.sampling import FrameSelection
from data.loading.transforms import EvalTransform
from data.video.decode import ClipFacts, DecodeSettings, decode_clip


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model sees of a clip."""

    frames: torch.Tensor
    """uint8 `(T, 3, S, S)`."""
    facts: ClipFacts


def see_file(file: Path, decode: DecodeSettings, selection: FrameSelection, transform: EvalTransform) -> Seen:
    """Decode what evaluation and prediction show a model of a video file.

    Raises:
        DataError: it can't be read or decoded; the message is the reason without its name.
    """
    if not file.is_file():
        raise DataError("it is a folder: give video files" if file.is_dir() else "no such file")
    try:
        decoded = decode_clip(file, decode)
    except OSError as error:
        raise DataError(f"it can't be opened ({error.strerror})") from None
    return Seen(eval_frames(decoded.frames, selection, transform), decoded.facts)


def eval_frames(
    stored: np.ndarray, selection: FrameSelection, transform: EvalTransform, view: int = 0, views: int = 1
) -> torch.Tensor:
    """What evaluation and prediction show a model of a clip.

    Args:
        stored: uint8 `(F, H, W, 3)` as decoded.
        selection: gives the number of frames T.
        transform: gives the size S.
        view: which of the `views` views of the clip.
        views: how many views share out the clip.

    Returns:
        uint8 `(T, 3, S, S)`.
    """
    return transform(pick(stored, selection.eval_indices(len(stored), view, views)))


def pick(stored: np.ndarray, indices: np.ndarray) -> torch.Tensor:
    """`(F, H, W, 3)` to `(T, 3, H, W)`; only the picked frames' pages are read."""
    return torch.from_numpy(stored[indices]).permute(0, 3, 1, 2)
