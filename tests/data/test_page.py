from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from data.page import frame_strip


def picture(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))).astype(int)


def test_a_strip_has_every_frame_and_the_heat_map_below() -> None:
    frames = np.zeros((3, 32, 40, 3), np.uint8)
    frames[1] = 200
    plain = picture(frame_strip(frames, None, height=32))
    assert plain.shape == (32, 120, 3)
    assert plain[:, 5:35].mean() < 10
    assert plain[:, 45:75].mean() > 190
    heat = np.zeros((3, 32, 40))
    heat[2, :16] = 1
    both = picture(frame_strip(frames, heat, height=32))
    assert both.shape == (64, 120, 3)
    assert abs(both[:30, :75] - plain[:30, :75]).mean() < 3
    assert both[34:46, 85:115].mean() > 80
    assert both[50:62, 85:115].mean() < 10


def test_strips_of_other_shapes_and_types_are_refused() -> None:
    frames, heat = np.zeros((3, 32, 40, 3), np.uint8), np.zeros((3, 32, 40))
    for bad in (heat[:2], heat + 1.5, heat - 0.5):
        with pytest.raises(AssertionError):
            frame_strip(frames, bad)
    with pytest.raises(AssertionError):
        frame_strip(frames.astype(float), None)
