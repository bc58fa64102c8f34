"""When two clips show one recording: re-encoded, rescaled, slightly trimmed or slightly cropped.

Perceptual hashes (bit by bit `imagehash.phash`, 64 bits) are taken at 16 instants of a clip, each of the picture and
of what moved in it: the same person in the same room gives nearly the same pictures, and only what moves tells one take
from the next. Clips are compared after aligning them in time, and as if one were a cropped copy of the other.
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
"""Largest distance of two clips of one recording."""

_INSTANTS = 16
_CROPPED = 0.045
"""The second view leaves out this share of the picture at each edge; it meets copies cropped by up to twice that."""
_TRIMMED = (0.0, 0.05, 0.1, 0.15)
"""Shares of a recording that its trimmed copy may lack."""
_SIDE, _HASH_SIDE = 32, 8
_STILL = 6.0
"""A clip of which hardly a pixel strays further from its median, in grey levels, shows noise and no movement."""
_BACKDROP_BITS = 18
_VIEWS = ((0, 0), (0, 1), (1, 0))
_ROWS, _PAIRS = 256, 4096


@dataclass(frozen=True, eq=False, slots=True)
class Signature:
    """What is kept of a clip to find its copies; about half a kilobyte."""

    frames: np.ndarray
    """uint64 `(2, 16, 2)`: in the whole picture and in its middle, at each instant, hash of the picture and hash of
    what moved. Without movement the picture's hash stands for both."""
    backdrop: np.ndarray
    """uint64 `(2,)`: hash of the median picture, whole and middle."""
    moves: bool
    """Whether anything moves."""


@dataclass(frozen=True, slots=True, order=True)
class SimilarPair:
    """Two clips of one recording."""

    first: str
    second: str
    """`first < second`."""
    distance: float
    """Mean share of hash bits that differ, over aligned instants: 0 to NEAR."""


def find_signatures(build: BuildReport, store: FrameStore, *, progress: bool = False) -> dict[str, Signature]:
    """The signature of each clip of the build that has frames, by the digest of its file.

    Raises:
        DataError: the store lacks a clip's frames.
    """
    digests = dict.fromkeys(build.digests().values())
    return {
        digest: signature(store.read(digest))
        for digest in tqdm(digests, desc="signatures", unit="clip", disable=not progress)
    }


def signature(frames: np.ndarray) -> Signature:
    """The signature of a clip's frames, uint8 RGB `(F, H, W, 3)`, equally spaced over the clip."""
    chosen = frames[((np.arange(_INSTANTS) + 0.5) / _INSTANTS * len(frames)).astype(int)]
    views = np.stack([_grey(chosen, cropped) for cropped in (0.0, _CROPPED)])
    medians = np.median(views, axis=1, keepdims=True)
    moves = bool(np.percentile(np.abs(views[0] - medians[0]), 99) > _STILL)
    pictures = _phash(views)
    moved = _phash(128 + views - medians) if moves else pictures
    return Signature(np.stack([pictures, moved], axis=-1), _phash(medians[:, 0]), moves)


def near_duplicates(signatures: Mapping[str, Signature]) -> list[SimilarPair]:
    """All pairs of clips of one recording, sorted; the time grows with pairs of clips before the same backdrop."""
    paths = sorted(signatures)
    if len(paths) < 2:
        return []
    found = [signatures[path] for path in paths]
    frames = np.stack([one.frames for one in found])
    pairs: list[SimilarPair] = []
    for first, second in _before_one_backdrop(found):
        distances = _distances(frames[first], frames[second])
        near = distances <= NEAR
        pairs += [
            SimilarPair(paths[i], paths[j], float(distance))
            for i, j, distance in zip(first[near], second[near], distances[near], strict=True)
        ]
    return sorted(pairs)


def _grey(frames: np.ndarray, cropped: float) -> np.ndarray:
    """float32 `(F, 32, 32)`, without the share `cropped` at each edge."""
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
    """`imagehash.phash` of many pictures at once: float `(..., 32, 32)` to uint64 `(...)`."""
    pictures = np.clip(grey, 0, 255).astype(np.uint8)
    slow = dctn(pictures, axes=(-2, -1))[..., :_HASH_SIDE, :_HASH_SIDE].reshape(*pictures.shape[:-2], -1)
    bits = slow > np.median(slow, axis=-1, keepdims=True)
    return np.packbits(bits, axis=-1).view(np.uint64)[..., 0]


def _before_one_backdrop(found: list[Signature]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index pairs worth comparing frame by frame, in portions of bounded size."""
    backdrops = np.stack([one.backdrop for one in found])
    moves = np.array([one.moves for one in found])
    for start in range(0, len(found), _ROWS):
        rows = slice(start, start + _ROWS)
        bits = [np.bitwise_count(backdrops[rows, a, None] ^ backdrops[None, :, b]) for a, b in _VIEWS]
        close = (np.minimum.reduce(bits) <= _BACKDROP_BITS) & (moves[rows, None] == moves)
        first, second = np.nonzero(close)
        first += start
        once = first < second
        first, second = first[once], second[once]
        for portion in range(0, len(first), _PAIRS):
            yield first[portion : portion + _PAIRS], second[portion : portion + _PAIRS]


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Least distance over the ways to align each pair; both uint64 `(P, 2, 16, 2)`, the result float `(P,)`."""
    least = np.full(len(first), np.inf)
    for a, b in _VIEWS:
        for instants in _alignments():
            for one, other in ((first[:, a][:, instants], second[:, b]), (first[:, a], second[:, b][:, instants])):
                least = np.minimum(least, np.bitwise_count(one ^ other).mean(axis=(1, 2)) / 64)
    return least


def _alignments() -> np.ndarray:
    """Which instants of the whole recording a copy shows that lacks some of its start, of its end or of both."""
    instants = (np.arange(_INSTANTS) + 0.5) / _INSTANTS
    ways = [
        ((start + (1 - trimmed) * instants) * _INSTANTS).astype(int)
        for trimmed in _TRIMMED
        for start in (0.0, trimmed / 2, trimmed)
    ]
    return np.unique(ways, axis=0)
