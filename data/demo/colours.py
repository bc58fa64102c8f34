"""RGB colours of figures and rooms."""

from __future__ import annotations

import colorsys

import numpy as np

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

STEEL: Colour = (176, 180, 186)
IRON: Colour = (42, 44, 50)


def random_colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Return a colour of any hue, with saturation and value (0 to 1) drawn from these ranges."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return int(255 * r), int(255 * g), int(255 * b)


def shaded(colour: Colour, factor: float) -> Colour:
    """Return the colour darker (factor below 1) or brighter (above 1)."""
    r, g, b = (min(255, int(channel * factor)) for channel in colour)
    return r, g, b


def contrast(a: Colour, b: Colour) -> float:
    """Return the Euclidean distance of two colours."""
    return float(np.linalg.norm(np.subtract(a, b)))
