"""What the HTML pages have in common: templates that escape names, and pictures inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image


def template(name: str, folder: Path = Path(__file__).parent) -> jinja2.Template:
    """A template of a folder, by default this one; what it shows is escaped: file names may hold anything."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def jpeg_strip(frames: np.ndarray, count: int, height: int) -> str:
    """`count` of the frames uint8 `(F, H, W, 3)` side by side, from the middles of as many equal parts, as data URI."""
    chosen = ((np.arange(count) + 0.5) / count * len(frames)).astype(int)
    strip = Image.fromarray(np.concatenate([frames[index] for index in chosen], axis=1))
    strip = strip.resize((max(1, round(strip.width * height / strip.height)), height), Image.Resampling.BOX)
    return _data_uri(strip, 70)


def jpeg_picture(picture: np.ndarray, side: int) -> str:
    """A square picture uint8 `(S, S, 3)`, of at least so many pixels a side, as data URI."""
    image = Image.fromarray(picture)
    if image.width < side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return _data_uri(image, 85)


def _data_uri(image: Image.Image, quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
