"""Shared parts of the HTML pages: templates that escape names, and inline images."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

_HEAT_OPACITY = 0.7


def load_template(file: Path) -> jinja2.Template:
    """Return a Jinja template that escapes all values, since file names can contain anything."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(file.name)


def frame_strip(frames: np.ndarray, heat: np.ndarray | None, *, height: int = 72) -> str:
    """Return frames side by side as a JPEG data URI, with a second row of heat map overlays if `heat` is given.

    Args:
        frames: uint8 `(T, H, W, 3)`, T ≥ 1.
        heat: float `(T, H, W)` in [0, 1], such as a Grad-CAM heat map; see `overlay_heat_map`.
        height: of a row in pixels.
    """
    assert frames.dtype == np.uint8, frames.dtype
    assert frames.ndim == 4, frames.shape
    if heat is None:
        return sampled_strip(frames, len(frames), height)
    assert heat.shape == frames.shape[:3], (heat.shape, frames.shape)
    assert 0 <= heat.min() <= heat.max() <= 1, (heat.min(), heat.max())
    rows = np.concatenate([frames, overlay_heat_map(frames, heat)], axis=1)
    return sampled_strip(rows, len(frames), 2 * height)


def sampled_strip(frames: np.ndarray, count: int, height: int) -> str:
    """Return `count` equally spaced frames side by side as a JPEG data URI.

    Args:
        frames: uint8 `(F, H, W, 3)`.
        count: frames to show, from the centres of as many equal parts.
        height: of the image in pixels.
    """
    chosen = ((np.arange(count) + 0.5) / count * len(frames)).astype(int)
    strip = Image.fromarray(np.concatenate([frames[index] for index in chosen], axis=1))
    strip = strip.resize((max(1, round(strip.width * height / strip.height)), height), Image.Resampling.BOX)
    return _data_uri(strip, 70)


def square_jpeg(frame: np.ndarray, min_side: int) -> str:
    """Return a square frame, uint8 `(S, S, 3)`, as a JPEG data URI, enlarged to at least `min_side` pixels."""
    image = Image.fromarray(frame)
    if image.width < min_side:
        image = image.resize((min_side, min_side), Image.Resampling.BICUBIC)
    return _data_uri(image, 85)


def overlay_heat_map(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return frames in grey with a coloured heat map over them, whose opacity grows with its value.

    Args:
        frames: uint8 `(…, H, W, 3)`.
        heat: float `(…, H, W)` in [0, 1].

    Returns:
        uint8 `(…, H, W, 3)`.
    """
    import matplotlib  # Imported late: most pages have no heat maps.

    grey = np.repeat(frames.mean(-1, keepdims=True), 3, axis=-1)
    opacity = _HEAT_OPACITY * heat[..., None]
    colours = matplotlib.colormaps["plasma"](heat)[..., :3]
    return ((1 - opacity) * grey + opacity * 255 * colours).round().astype(np.uint8)


def _data_uri(image: Image.Image, quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
