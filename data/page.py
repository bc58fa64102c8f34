"""What the HTML pages have in common: templates that escape names, and pictures inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image


def load_template(file: Path) -> jinja2.Template:
    """A template; what it shows is escaped: file names may hold anything."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(file.name)


def sampled_strip(frames: np.ndarray, count: int, height: int) -> str:
    """`count` of the frames uint8 `(F, H, W, 3)` side by side, from the middles of as many equal parts, as data URI."""
    chosen = ((np.arange(count) + 0.5) / count * len(frames)).astype(int)
    strip = Image.fromarray(np.concatenate([frames[index] for index in chosen], axis=1))
    strip = strip.resize((max(1, round(strip.width * height / strip.height)), height), Image.Resampling.BOX)
    return _data_uri(strip, 70)


def square_jpeg(picture: np.ndarray, side: int) -> str:
    """A square picture uint8 `(S, S, 3)`, of at least so many pixels a side, as data URI."""
    image = Image.fromarray(picture)
    if image.width < side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return _data_uri(image, 85)


def _data_uri(image: Image.Image, quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


_COVER = 0.7


def overlay_heat_map(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Frames uint8 `(…, H, W, 3)`, grey where the heat map `(…, H, W)` is 0, covered in colour where it is 1."""
    import matplotlib  # the other pages' pictures need none of it

    grey = np.repeat(frames.mean(-1, keepdims=True), 3, axis=-1)
    cover = _COVER * heat[..., None]
    return ((1 - cover) * grey + cover * 255 * matplotlib.colormaps["plasma"](heat)[..., :3]).round().astype(np.uint8)


def frame_strip(frames: np.ndarray, heat: np.ndarray | None, *, height: int = 72) -> str:
    """Frames side by side as JPEG in a data URI, for an `<img>`'s src.

    With `heat` they stand above a second row, in which it lies over them.

    Args:
        frames: uint8 `(T, H, W, 3)`, T ≥ 1.
        heat: 0 … 1, float `(T, H, W)`, such as a Grad-CAM heat map; see `overlay_heat_map`.
        height: Of one row, in pixels.
    """
    assert frames.dtype == np.uint8, frames.dtype
    assert frames.ndim == 4, frames.shape
    if heat is None:
        return sampled_strip(frames, len(frames), height)
    assert heat.shape == frames.shape[:3], (heat.shape, frames.shape)
    assert 0 <= heat.min() <= heat.max() <= 1, (heat.min(), heat.max())
    return sampled_strip(np.concatenate([frames, overlay_heat_map(frames, heat)], axis=1), len(frames), 2 * height)
