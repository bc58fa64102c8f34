"""Random rooms: a wall, a floor, furniture along the wall, and uneven light."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from data.demo.camera import Camera
from data.demo.colours import IRON, STEEL, Colour, contrast, random_colour, shaded

DrawRectangle = Callable[[float, float, float, float, Colour], None]
"""Draws an upright rectangle on the wall: left, right, low and high in metres, colour."""
DrawPolygon = Callable[[Sequence[tuple[float, float, float]], Colour], None]
"""Draws a polygon whose corners are metres to the right, behind the person, and up."""


def draw_room(
    camera: Camera, visible_against: tuple[Colour, Colour], size: tuple[int, int], rng: np.random.Generator
) -> Image.Image:
    """Draw an empty room.

    Args:
        camera: that looks into it.
        visible_against: colours of the person from which the wall must differ.
        size: width and height in pixels.
        rng: decides everything.
    """
    walls = [random_colour(rng, saturation=(0.03, 0.4), value=(0.25, 0.9)) for _ in range(5)]
    wall = max(walls, key=lambda colour: min(contrast(colour, other) for other in visible_against))
    floor = random_colour(rng, saturation=(0.05, 0.45), value=(0.25, 0.75))
    room = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(room)
    depth = rng.uniform(1.0, 2.2)

    def polygon(points: Sequence[tuple[float, float, float]], colour: Colour) -> None:
        draw.polygon(camera.project_room(np.array(points)).ravel().tolist(), fill=colour)

    def rectangle(left: float, right: float, low: float, high: float, colour: Colour) -> None:
        polygon([(left, depth, low), (right, depth, low), (right, depth, high), (left, depth, high)], colour)

    _draw_wallpaper(rectangle, wall, rng)
    for x in rng.permutation(np.linspace(-2.4, 2.4, 5))[: rng.integers(1, 5)]:
        _FURNITURE[rng.integers(len(_FURNITURE))](rectangle, float(x + rng.uniform(-0.3, 0.3)), rng)
    # The front edge is just before the lens, so that the floor reaches the lower edge of the picture.
    _draw_floor(polygon, floor, 0.5 - camera.distance, depth, rng)
    rectangle(-9, 9, 0.0, rng.uniform(0.03, 0.12), shaded(wall, rng.uniform(0.5, 1.3)))
    return _lit(room, rng)


def _draw_wallpaper(rectangle: DrawRectangle, wall: Colour, rng: np.random.Generator) -> None:
    other = shaded(wall, rng.uniform(0.8, 0.94))
    pattern = rng.choice(["plain", "stripes", "bricks", "panel"])
    if pattern == "stripes":
        width = rng.uniform(0.12, 0.4)
        for left in np.arange(-6, 6, 2 * width):
            rectangle(left, left + width, 0, 4, other)
    elif pattern == "bricks":
        for row, low in enumerate(np.arange(0, 4, 0.22)):
            rectangle(-6, 6, low, low + 0.03, other)
            for left in np.arange(-6 + 0.25 * (row % 2), 6, 0.5):
                rectangle(left, left + 0.03, low, low + 0.22, other)
    elif pattern == "panel":
        rectangle(-9, 9, 0, rng.uniform(0.7, 1.3), shaded(other, 0.85))


def _draw_floor(polygon: DrawPolygon, floor: Colour, front: float, back: float, rng: np.random.Generator) -> None:
    polygon([(-9, back, 0), (9, back, 0), (9, front, 0), (-9, front, 0)], floor)
    other = shaded(floor, rng.uniform(0.82, 0.93))
    pattern = rng.choice(["plain", "planks", "tiles", "mat"])
    if pattern in ("planks", "tiles"):
        for left in np.arange(-5, 5, 0.4):
            polygon([(left, back, 0), (left + 0.03, back, 0), (left + 0.03, front, 0), (left, front, 0)], other)
    if pattern == "tiles":
        for y in np.arange(front, back, 0.4):
            polygon([(-5, y, 0), (5, y, 0), (5, y + 0.03, 0), (-5, y + 0.03, 0)], other)
    if pattern == "mat":
        colour = random_colour(rng, saturation=(0.2, 0.6), value=(0.3, 0.7))
        polygon([(-1.3, 0.6, 0), (1.3, 0.6, 0), (1.3, -0.6, 0), (-1.3, -0.6, 0)], colour)


def _draw_window(rectangle: DrawRectangle, x: float, rng: np.random.Generator) -> None:
    w, low, high = rng.uniform(0.3, 0.5), rng.uniform(0.9, 1.1), rng.uniform(1.8, 2.2)
    frame = random_colour(rng, saturation=(0.0, 0.2), value=(0.6, 0.95))
    rectangle(x - w - 0.05, x + w + 0.05, low - 0.05, high + 0.05, frame)
    rectangle(x - w, x + w, low, high, random_colour(rng, saturation=(0.1, 0.35), value=(0.7, 0.95)))
    rectangle(x - 0.02, x + 0.02, low, high, frame)
    rectangle(x - w, x + w, (low + high) / 2 - 0.02, (low + high) / 2 + 0.02, frame)


def _draw_poster(rectangle: DrawRectangle, x: float, rng: np.random.Generator) -> None:
    w, low, high = rng.uniform(0.2, 0.4), rng.uniform(1.0, 1.2), rng.uniform(1.7, 2.1)
    rectangle(x - w, x + w, low, high, random_colour(rng, saturation=(0.1, 0.6), value=(0.3, 0.8)))
    for line in rng.uniform(low + 0.08, high - 0.08, 4):
        ink = random_colour(rng, saturation=(0.1, 0.5), value=(0.4, 0.9))
        rectangle(x - 0.7 * w, x + 0.7 * w, line, line + 0.05, ink)


def _draw_door(rectangle: DrawRectangle, x: float, rng: np.random.Generator) -> None:
    wood = random_colour(rng, saturation=(0.1, 0.5), value=(0.3, 0.7))
    rectangle(x - 0.5, x + 0.5, 0, 2.1, shaded(wood, 0.8))
    rectangle(x - 0.44, x + 0.44, 0, 2.04, wood)
    rectangle(x + 0.3, x + 0.38, 1.0, 1.05, STEEL)


def _draw_rack(rectangle: DrawRectangle, x: float, rng: np.random.Generator) -> None:
    steel = shaded(STEEL, rng.uniform(0.4, 0.8))
    for shelf in (0.35, 0.75, 1.15)[: rng.integers(2, 4)]:
        rectangle(x - 0.6, x + 0.6, shelf, shelf + 0.05, steel)
        for left in np.arange(x - 0.55, x + 0.5, 0.22):
            rectangle(left, left + 0.16, shelf + 0.05, shelf + rng.uniform(0.14, 0.22), IRON)
    rectangle(x - 0.62, x - 0.57, 0, 1.4, steel)
    rectangle(x + 0.57, x + 0.62, 0, 1.4, steel)


def _draw_cupboard(rectangle: DrawRectangle, x: float, rng: np.random.Generator) -> None:
    paint = random_colour(rng, saturation=(0.1, 0.5), value=(0.3, 0.75))
    for left in (x - 0.45, x - 0.15, x + 0.15):
        rectangle(left, left + 0.3, 0, 1.8, shaded(paint, 0.75))
        rectangle(left + 0.02, left + 0.28, 0.04, 1.76, paint)
        rectangle(left + 0.22, left + 0.25, 0.9, 1.05, shaded(paint, 0.5))


_FURNITURE = (_draw_window, _draw_poster, _draw_door, _draw_rack, _draw_cupboard)


def _lit(room: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the room under one lamp, with stains: both multiply the painted colours."""
    width, height = room.size
    stains = Image.fromarray(rng.uniform(0, 255, (height // 12, width // 12)).astype(np.uint8))
    rough = np.asarray(stains.resize(room.size, Image.Resampling.BICUBIC), np.float32) / 255 - 0.5
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    lamp = np.hypot(x - rng.uniform(0, 1), y - rng.uniform(-0.2, 0.5))
    light = 1.12 - rng.uniform(0.1, 0.4) * lamp + rng.uniform(0.02, 0.14) * rough
    return Image.fromarray(np.clip(np.asarray(room) * light[..., None], 0, 255).astype(np.uint8))
