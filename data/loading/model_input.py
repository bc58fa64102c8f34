"""Frames that a model takes of a clip in evaluation and prediction."""

from __future__ import annotations

import numpy as np
import torch

from data.loading.frame_selection import FrameSelection
from data.loading.transforms import EvalTransform


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
