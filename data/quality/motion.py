"""Measures of brightness and movement in the stored frames of a clip."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

_BLOCK = 8
"""Side of the blocks, in stored pixels, whose mean brightness is compared over time."""

_WINDOW = 16
"""Side of the windows, in stored pixels, whose shift is estimated."""

_MOST_FRAMES = 64
"""Equally spaced frames used to measure a shift, which limits the memory."""


def block_means(frames: np.ndarray) -> np.ndarray:
    """Return mean colours of blocks of 8 x 8 pixels.

    Args:
        frames: uint8 `(F, H, W, 3)`.

    Returns:
        uint8 `(F, ceil(H/8), ceil(W/8), 3)`.
    """
    return np.stack([np.asarray(Image.fromarray(frame).reduce(_BLOCK)) for frame in frames])


def count_black_frames(blocks: np.ndarray, level: float) -> int:
    """Count the frames with at most one block in fifty brighter than `level` in a colour.

    The one in fifty allows for a logo or a clock. `blocks` are `block_means`.
    """
    bright = blocks.max(axis=3) > level
    return int((bright.mean(axis=(1, 2)) <= 0.02).sum())


def largest_change(blocks: np.ndarray) -> float:
    """Return the range of brightness over time, 0 to 255, that one block in a hundred exceeds.

    `blocks` are `block_means`.
    """
    brightness = blocks.mean(axis=3, dtype=np.float32)
    return float(np.quantile(np.ptp(brightness, axis=0), 0.99))


def largest_shift(frames: np.ndarray) -> float:
    """Return how far a part of the picture shifts from the mean picture (root mean square over time).

    Each window's shift is estimated by least squares on the gradients (Lucas and Kanade, "An iterative image
    registration technique", 1981). Since compression changes pixels in other ways than a shift, an estimate counts only
    to the extent that it explains the change, which underestimates windows that move in part. It fails for movements
    beyond a window; `largest_change` finds those.

    Args:
        frames: uint8 `(F, H, W, 3)`.

    Returns:
        Stored pixels.
    """
    grey = frames[:: math.ceil(len(frames) / _MOST_FRAMES)].mean(axis=3, dtype=np.float32)
    picture = grey.mean(axis=0)
    if min(picture.shape) < 2:
        return 0.0
    side = min(_WINDOW, *picture.shape)
    down, right = np.gradient(picture)
    change = grey - picture
    # Added to the squared gradients: a window flatter than this shows no shift.
    noise = 25.0 * side * side
    xx, yy, xy = (_window_sums(product, side) for product in (right * right, down * down, right * down))
    xx, yy = xx + noise, yy + noise
    x, y, energy = (_window_sums(product, side) for product in (change * right, change * down, change * change))
    determinant = xx * yy - xy * xy
    shift_x, shift_y = (yy * x - xy * y) / determinant, (xx * y - xy * x) / determinant
    explained = (shift_x * x + shift_y * y).sum(axis=0)
    # Rounding to whole levels changes each pixel by about a quarter of a squared level.
    share = explained / (energy.sum(axis=0) + 0.25 * side * side * len(grey))
    shifts = np.sqrt((shift_x**2 + shift_y**2).mean(axis=0)) * share
    # The second largest, because one window may contain a clock.
    return float(np.sort(shifts, axis=None)[-2:][0])


def _window_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sum `(..., H, W)` over windows to `(..., H // side, W // side)`, ignoring the rest at the edges."""
    *lead, height, width = values.shape
    rows, columns = height // side, width // side
    windows = values[..., : rows * side, : columns * side].reshape(*lead, rows, side, columns, side)
    return windows.sum(axis=(-3, -1))
