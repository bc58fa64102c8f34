from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image

from data.quality.similarity import compute_signature
from tests.helpers.video_files import moving_square, textured


def bits(picture: np.ndarray) -> int:
    return int(np.packbits(imagehash.phash(Image.fromarray(picture).convert("L")).hash).view(np.uint64)[0])


@pytest.mark.parametrize(
    "frames",
    [textured(0, 16), moving_square(1, 16), [np.full((40, 56, 3), 77, np.uint8)] * 16],
    ids=["textured", "square", "flat"],
)
def test_signature_has_the_bits_of_imagehash(frames: list[np.ndarray]) -> None:
    found = compute_signature(np.stack(frames))
    assert [int(hashed) for hashed in found.frames[0, :, 0]] == [bits(frame) for frame in frames]


def test_movement_has_a_hash_of_its_own() -> None:
    frames = moving_square(1, 16)
    moving, still = compute_signature(np.stack(frames)), compute_signature(np.stack(frames[:1] * 16))
    assert moving.moves
    assert not still.moves
    assert (moving.frames[0, :, 1] != moving.frames[0, :, 0]).any()
    assert (still.frames[..., 1] == still.frames[..., 0]).all()
