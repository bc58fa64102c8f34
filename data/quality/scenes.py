"""How alike the rooms are that clips were filmed in: by the colours of the pictures and by what stands still in them.

A palette is a histogram over hue, saturation and value, and two are compared by Bhattacharyya's coefficient (1943):
it does not care where the camera stands, so it also joins shots of one room from several sides. A backdrop is the
median picture of a clip, from which the mover vanishes; two are compared by `imagehash.phash` (256 bits), which does
not care about colours. Both hold for mirrored copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

SAME_PALETTE = 0.82
"""Bhattacharyya's coefficient of two palettes from which on they count as one room's."""
SAME_BACKDROP = 0.25
"""Share of differing bits up to which two backdrops count as one."""

_BINS = np.array((12, 4, 4))
"""Of hue, saturation and value."""
_MOST_OF_ONE_COLOUR = 0.1
"""No colour counts for more than this share: a white wall or a black screen does not make a room."""
_FEWEST_COLOURS = 6.0
"""A palette with fewer colours in use (exponential of its entropy) fits any plain room: it says nothing."""
_FEWEST_GREYS = 10.0
"""A backdrop of a smaller standard deviation, in grey levels, has no texture to hash: it says nothing."""
_SHORT_SIDE = 64
_FRAMES = 16
_HASH_SIDE = 16
_DARK = 24


@dataclass(frozen=True, eq=False, slots=True)
class Scenes:
    """Rooms of many clips, a row a clip; a row of zeros where a clip says nothing."""

    palettes: np.ndarray
    """float32 `(N, 192)`, roots of the shares: the product of two rows is Bhattacharyya's coefficient."""
    backdrops: np.ndarray
    """float32 `(N, 256)` of -1 and 1: half of one less the mean product of two rows is the share of differing bits."""
    mirrored: np.ndarray
    """The same of the mirrored backdrops."""

    def __len__(self) -> int:
        return len(self.palettes)

    @classmethod
    def empty(cls, clips: int) -> Scenes:
        """Scenes of clips that say nothing."""
        bits = _HASH_SIDE**2
        return cls(*(np.zeros((clips, width), np.float32) for width in (int(_BINS.prod()), bits, bits)))

    def put(self, row: int, frames: np.ndarray) -> None:
        """Set one clip's row from its frames, uint8 RGB `(F, H, W, 3)`."""
        scene = describe(frames)
        self.palettes[row], self.backdrops[row], self.mirrored[row] = scene

    def likeness(self, rows: np.ndarray, columns: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Palettes' coefficients and backdrops' shares of differing bits, float32 `(rows, columns)` each."""
        palettes = self.palettes[rows] @ self.palettes[columns].T
        straight = self.backdrops[rows] @ self.backdrops[columns].T
        turned = self.backdrops[rows] @ self.mirrored[columns].T
        return palettes, (1 - np.maximum(straight, turned) / self.backdrops.shape[1]) / 2

    def distances(self, rows: np.ndarray, columns: np.ndarray | slice) -> np.ndarray:
        """How far apart the rooms are, float32 `(rows, columns)`: from 0; up to 1 counts as the same room."""
        palettes, bits = self.likeness(rows, columns)
        return np.clip(np.minimum((1 - palettes) / (1 - SAME_PALETTE), bits / SAME_BACKDROP), 0, None)


def describe(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Palette, backdrop and mirrored backdrop as rows of `Scenes`, of frames uint8 RGB `(F, H, W, 3)`."""
    frames = small_frames(frames)
    still = Image.fromarray(median_picture(frames))
    if np.asarray(still.convert("L"), np.float32).std() < _FEWEST_GREYS:
        nothing = np.zeros(_HASH_SIDE**2, np.float32)
        return _palette(frames[::2, ::2, ::2]), nothing, nothing
    return _palette(frames[::2, ::2, ::2]), _bits(still), _bits(still.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def median_picture(frames: np.ndarray) -> np.ndarray:
    """The median over time of frames uint8 `(F, H, W, 3)`: uint8 `(H, W, 3)`, without what moves."""
    return np.median(frames, axis=0).astype(np.uint8)


def small_frames(frames: np.ndarray) -> np.ndarray:
    """At most 16 of the frames, without black bars, short side at most 64 pixels: uint8 RGB `(F, H, W, 3)`."""
    frames = _without_bars(frames[np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES)).round().astype(int)])
    height, width = frames.shape[1:3]
    scale = min(1.0, _SHORT_SIDE / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def _without_bars(frames: np.ndarray) -> np.ndarray:
    """Bars that are black in all frames go; a picture that would all but vanish stays as it is."""
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
    """Shares of the colours, `(192,)`; a pixel is shared out between the nearest bins, so that noise moves little."""
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


def _bits(picture: Image.Image) -> np.ndarray:
    return np.where(imagehash.phash(picture, _HASH_SIDE).hash.ravel(), 1, -1).astype(np.float32)
