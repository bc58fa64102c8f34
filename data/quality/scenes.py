"""Similarity of the rooms in which clips were filmed, by the colours and by the static background of the pictures.

A palette is a histogram over hue, saturation and value. Two palettes are compared by the Bhattacharyya coefficient
(1943), which does not depend on the camera's position, so it also joins shots of one room from several sides. A
backdrop is the median picture of a clip, in which moving people vanish. Two backdrops are compared by
`imagehash.phash` (256 bits), which does not depend on colours. Both work for mirrored copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

SAME_PALETTE = 0.82
"""Bhattacharyya coefficient from which two palettes count as the same room."""
SAME_BACKDROP = 0.25
"""Share of differing bits up to which two backdrops count as the same room."""

_BINS = np.array((12, 4, 4))
"""Of hue, saturation and value."""
_MOST_OF_ONE_COLOUR = 0.1
"""No colour counts for more than this share: a white wall or a black screen does not identify a room."""
_FEWEST_COLOURS = 6.0
"""A palette with fewer colours in use (exponential of its entropy) fits any plain room and is ignored."""
_FEWEST_GREYS = 10.0
"""A backdrop with a smaller standard deviation, in grey levels, has no texture to hash and is ignored."""
_SHORT_SIDE = 64
_FRAMES = 16
_HASH_SIDE = 16
_DARK = 24


@dataclass(frozen=True, eq=False, slots=True)
class Scenes:
    """Palettes and backdrops of many clips, one row per clip; a row of zeros for a palette or backdrop to ignore."""

    palettes: np.ndarray
    """float32 `(N, 192)`, square roots of the shares: the dot product of two rows is the Bhattacharyya coefficient."""
    backdrops: np.ndarray
    """float32 `(N, 256)` of -1 and 1: (1 - mean product of two rows) / 2 is the share of differing bits."""
    mirrored: np.ndarray
    """The mirrored backdrops, in the same form."""

    def __len__(self) -> int:
        return len(self.palettes)

    @classmethod
    def empty(cls, clips: int) -> Scenes:
        """Return scenes whose rows are all zeros."""
        bits = _HASH_SIDE**2
        return cls(*(np.zeros((clips, width), np.float32) for width in (int(_BINS.prod()), bits, bits)))

    def set_row(self, row: int, frames: np.ndarray) -> None:
        """Set the row of one clip from its frames, uint8 RGB `(F, H, W, 3)`."""
        self.palettes[row], self.backdrops[row], self.mirrored[row] = scene_features(frames)

    def similarities(self, rows: np.ndarray, columns: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients of palettes and shares of differing bits of backdrops, float32 `(rows, columns)` each."""
        palettes = self.palettes[rows] @ self.palettes[columns].T
        as_filmed = self.backdrops[rows] @ self.backdrops[columns].T
        mirrored = self.backdrops[rows] @ self.mirrored[columns].T
        return palettes, (1 - np.maximum(as_filmed, mirrored) / self.backdrops.shape[1]) / 2

    def distances(self, rows: np.ndarray, columns: np.ndarray | slice) -> np.ndarray:
        """Return distances of rooms, float32 `(rows, columns)`, 0 or more; up to 1 counts as the same room."""
        palettes, bits = self.similarities(rows, columns)
        return np.clip(np.minimum((1 - palettes) / (1 - SAME_PALETTE), bits / SAME_BACKDROP), 0, None)


def scene_features(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return palette, backdrop and mirrored backdrop, as rows of `Scenes`, of frames uint8 RGB `(F, H, W, 3)`."""
    frames = _downscaled(frames)
    backdrop = Image.fromarray(np.median(frames, axis=0).astype(np.uint8))
    palette = _palette(frames[::2, ::2, ::2])
    if np.asarray(backdrop.convert("L"), np.float32).std() < _FEWEST_GREYS:
        zeros = np.zeros(_HASH_SIDE**2, np.float32)
        return palette, zeros, zeros
    return palette, _hash_bits(backdrop), _hash_bits(backdrop.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def _downscaled(frames: np.ndarray) -> np.ndarray:
    """Return at most 16 of the frames, without black bars, with a short side of at most 64 pixels."""
    frames = _without_bars(frames[np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES)).round().astype(int)])
    height, width = frames.shape[1:3]
    scale = min(1.0, _SHORT_SIDE / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def _without_bars(frames: np.ndarray) -> np.ndarray:
    """Crop bars that are black in all frames, unless hardly anything would be left."""
    bright = frames.max(axis=(0, 3)) > _DARK
    rows, columns = (np.flatnonzero(bright.mean(axis=axis) > 0.05) for axis in (1, 0))
    if len(rows) < 8 or len(columns) < 8:
        return frames
    return frames[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _palette(frames: np.ndarray) -> np.ndarray:
    shares = _histogram(frames)
    used = shares[shares > 0]
    if np.exp(-(used * np.log(used)).sum()) < _FEWEST_COLOURS:
        return np.zeros(len(shares), np.float32)
    for _ in range(3):
        shares = np.minimum(shares, _MOST_OF_ONE_COLOUR)
        shares /= shares.sum()
    return np.sqrt(shares).astype(np.float32)


def _histogram(frames: np.ndarray) -> np.ndarray:
    """Return the shares of colours, `(192,)`; each pixel is divided among the nearest bins, to be robust to noise."""
    pixels = frames.reshape(1, -1, 3)
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV"), np.float32)[0] / 256 * _BINS - 0.5
    low = np.floor(hsv).astype(int)
    part = hsv - low
    counts = np.zeros(_BINS.prod())
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, part, 1 - part).prod(axis=1)
        hue, saturation, value = (low + corner).T
        hue %= _BINS[0]
        saturation, value = saturation.clip(0, _BINS[1] - 1), value.clip(0, _BINS[2] - 1)
        counts += np.bincount((hue * _BINS[1] + saturation) * _BINS[2] + value, weight, len(counts))
    return counts / counts.sum()


def _hash_bits(picture: Image.Image) -> np.ndarray:
    return np.where(imagehash.phash(picture, _HASH_SIDE).hash.ravel(), 1, -1).astype(np.float32)
