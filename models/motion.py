"""What moves in a clip, apart from where it was filmed."""

from __future__ import annotations

import torch


def less_mean_frame(frames: torch.Tensor) -> torch.Tensor:
    """Frames `(B, T, 3, H, W)` less each clip's mean over time: a still background becomes zero, what moves stays."""
    return frames - frames.mean(1, keepdim=True)
