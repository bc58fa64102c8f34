"""Near-duplicates: copies of one recording that are re-encoded, rescaled, slightly trimmed or slightly cropped.

Perceptual hashes (the 64 bits of `imagehash.phash`) are computed at 16 instants of a clip, each for the picture and for
its difference from the clip's median picture: the same person in the same room gives nearly the same pictures, and only
movement distinguishes one take from the next. Clips are compared after alignment in time, and as if one were a cropped
copy of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore

NEAR = 0.12
"""Largest distance of near-duplicates."""

_INSTANTS = 16
_CROPPED = 0.045
"""The second view lacks this share of the picture at each edge; it finds copies cropped by up to twice as much."""
_TRIMMED = (0.0, 0.05, 0.1, 0.15)
"""Shares of a recording that a trimmed copy may lack."""
_SIDE, _HASH_SIDE = 32, 8
_STILL = 6.0
"""Grey levels. A clip shows only noise if fewer than 1 % of its pixels deviate more from the median picture."""
_BACKDROP_BITS = 18
_VIEWS = ((0, 0), (0, 1), (1, 0))
_ROWS, _PAIRS = 256, 4096
"""Clips and pairs of clips compared per step, which limits the memory."""


@dataclass(frozen=True, eq=False, slots=True)
class Signature:
    """Perceptual hashes of a clip, about half a kilobyte."""

    frames: np.ndarray
    """uint64 `(2, 16, 2)`: for the whole picture and its middle, at each instant, hash of the picture and hash of the
    movement. Without movement both are the picture's hash."""
    backdrop: np.ndarray
    """uint64 `(2,)`: hashes of the median picture, whole and middle."""
    moves: bool
    """Whether anything in the clip moves."""


@dataclass(frozen=True, slots=True, order=True)
class SimilarPair:
    """Two near-duplicates."""

    first: str
    second: str
    """`first < second`."""
    distance: float
    """Mean share of differing hash bits over aligned instants, 0 to NEAR."""


def find_signatures(build: BuildReport, store: FrameStore, *, progress: bool = False) -> dict[str, Signature]:
    """Return the signature of each stored clip of the build, by the digest of its file.

    Raises:
        DataError: the store lacks a clip's frames.
    """
    digests = dict.fromkeys(build.digests().values())
    return {
        digest: compute_signature(store.read(digest))
        for digest in tqdm(digests, desc="signatures", unit="clip", disable=not progress)
    }


def compute_signature(frames: np.ndarray) -> Signature:
    """Return the signature of a clip's frames, uint8 RGB `(F, H, W, 3)`, equally spaced over the clip."""
    chosen = frames[((np.arange(_INSTANTS) + 0.5) / _INSTANTS * len(frames)).astype(int)]
    views = np.stack([_grey(chosen, cropped) for cropped in (0.0, _CROPPED)])
    medians = np.median(views, axis=1, keepdims=True)
    moves = bool(np.percentile(np.abs(views[0] - medians[0]), 99) > _STILL)
    pictures = _phash(views)
    moved = _phash(128 + views - medians) if moves else pictures
    return Signature(np.stack([pictures, moved], axis=-1), _phash(medians[:, 0]), moves)


def find_near_duplicates(signatures: Mapping[str, Signature]) -> list[SimilarPair]:
    """Return all pairs of near-duplicates, sorted; the time grows with the pairs of clips before one backdrop."""
    paths = sorted(signatures)
    if len(paths) < 2:
        return []
    ordered = [signatures[path] for path in paths]
    frames = np.stack([signature.frames for signature in ordered])
    pairs: list[SimilarPair] = []
    for first, second in _pairs_before_one_backdrop(ordered):
        distances = _distances(frames[first], frames[second])
        near = distances <= NEAR
        pairs += [
            SimilarPair(paths[i], paths[j], float(distance))
            for i, j, distance in zip(first[near], second[near], distances[near], strict=True)
        ]
    return sorted(pairs)


def _grey(frames: np.ndarray, cropped: float) -> np.ndarray:
    """Return frames in grey, float32 `(F, 32, 32)`, without the share `cropped` at each edge."""
    height, width = frames.shape[1:3]
    y, x = round(cropped * height), round(cropped * width)
    return np.stack(
        [
            np.asarray(
                Image.fromarray(picture[y : height - y, x : width - x])
                .convert("L")
                .resize((_SIDE, _SIDE), Image.Resampling.LANCZOS),
                np.float32,
            )
            for picture in frames
        ]
    )


def _phash(grey: np.ndarray) -> np.ndarray:
    """Return `imagehash.phash` of many pictures: float `(..., 32, 32)` to uint64 `(...)`."""
    pictures = np.clip(grey, 0, 255).astype(np.uint8)
    slow = dctn(pictures, axes=(-2, -1))[..., :_HASH_SIDE, :_HASH_SIDE].reshape(*pictures.shape[:-2], -1)
    bits = slow > np.median(slow, axis=-1, keepdims=True)
    return np.packbits(bits, axis=-1).view(np.uint64)[..., 0]


def _pairs_before_one_backdrop(signatures: list[Signature]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield index pairs to be compared frame by frame, in batches of limited size."""
    backdrops = np.stack([signature.backdrop for signature in signatures])
    moves = np.array([signature.moves for signature in signatures])
    for start in range(0, len(signatures), _ROWS):
        rows = slice(start, start + _ROWS)
        bits = [np.bitwise_count(backdrops[rows, a, None] ^ backdrops[None, :, b]) for a, b in _VIEWS]
        close = (np.minimum.reduce(bits) <= _BACKDROP_BITS) & (moves[rows, None] == moves)
        first, second = np.nonzero(close)
        first += start
        ordered = first < second
        first, second = first[ordered], second[ordered]
        for batch in range(0, len(first), _PAIRS):
            yield first[batch : batch + _PAIRS], second[batch : batch + _PAIRS]


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the smallest distance over all alignments of each pair: two uint64 `(P, 2, 16, 2)` to float `(P,)`."""
    smallest = np.full(len(first), np.inf)
    for a, b in _VIEWS:
        for instants in _alignments():
            for one, other in ((first[:, a][:, instants], second[:, b]), (first[:, a], second[:, b][:, instants])):
                smallest = np.minimum(smallest, np.bitwise_count(one ^ other).mean(axis=(1, 2)) / 64)
    return smallest


def _alignments() -> np.ndarray:
    """Return the instants of a recording that trimmed copies show, `(ways to trim, 16)`."""
    instants = (np.arange(_INSTANTS) + 0.5) / _INSTANTS
    ways = [
        ((start + (1 - trimmed) * instants) * _INSTANTS).astype(int)
        for trimmed in _TRIMMED
        for start in (0.0, trimmed / 2, trimmed)
    ]
    return np.unique(ways, axis=0)
