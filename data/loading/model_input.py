"""Frames that a model takes of a clip in evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.errors import DataError
from data.loading.frame_selection import FrameSelection
from data.loading.transforms import EvalTransform
from data.video.decode import ClipFacts, DecodeSettings, decode_clip


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Frames of a clip as a model takes them, and the facts of its decoding."""

    frames: torch.Tensor
    """uint8 `(T, 3, S, S)`."""
    facts: ClipFacts


def load_model_input(
    file: Path, decode: DecodeSettings, selection: FrameSelection, transform: EvalTransform
) -> ModelInput:
    """Decode a video file and select its frames as in evaluation.

    Raises:
        DataError: the file can't be read or decoded; the message is the reason, without the file's name.
    """
    if not file.is_file():
        raise DataError("it is a folder; give video files" if file.is_dir() else "no such file")
    try:
        decoded = decode_clip(file, decode)
    except OSError as error:
        raise DataError(f"it can't be opened ({error.strerror})") from None
    return ModelInput(eval_frames(decoded.frames, selection, transform), decoded.facts)


def eval_frames(
    stored: np.ndarray, selection: FrameSelection, transform: EvalTransform, view: int = 0, views: int = 1
) -> torch.Tensor:
    """Select and transform the frames of a clip for evaluation.

    Args:
        stored: uint8 `(F, H, W, 3)` as decoded.
        selection: has the number of frames T.
        transform: has the size S.
        view: index of the view.
        views: number of views of the clip.

    Returns:
        uint8 `(T, 3, S, S)`.
    """
    return transform(select_frames(stored, selection.eval_indices(len(stored), view, views)))


def select_frames(stored: np.ndarray, indices: np.ndarray) -> torch.Tensor:
    """Return frames of `(F, H, W, 3)` as `(T, 3, H, W)`; of a memory-mapped array only these frames are read."""
    return torch.from_numpy(stored[indices]).permute(0, 3, 1, 2)
