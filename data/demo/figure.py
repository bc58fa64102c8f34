"""Drawing of the figure: body parts and weights as shaded convex hulls of balls, and its shadow."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from data.demo.camera import Camera
from data.demo.colours import IRON, STEEL, Colour, random_colour, shaded
from data.demo.skeleton import Body, Joints

_SKINS: tuple[Colour, ...] = (
    (255, 219, 190), (241, 194, 158), (224, 172, 125), (198, 134, 92), (150, 96, 62), (104, 66, 44),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (30, 24, 22), (68, 44, 30), (120, 78, 44), (196, 158, 96), (150, 146, 144), (140, 60, 34),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Colours of a person."""

    skin: Colour
    hair: Colour
    shirt: Colour
    sleeve: Colour
    trousers: Colour
    legs: Colour
    shoes: Colour

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        """Draw the colours of one person."""
        skin = _SKINS[rng.integers(len(_SKINS))]
        shirt = random_colour(rng, saturation=(0.45, 0.95), value=(0.5, 0.98))
        trousers = random_colour(rng, saturation=(0.1, 0.7), value=(0.15, 0.6))
        return cls(
            skin=skin,
            hair=_HAIRS[rng.integers(len(_HAIRS))],
            shirt=shirt,
            sleeve=shirt if rng.random() < 0.5 else skin,
            trousers=trousers,
            legs=trousers if rng.random() < 0.6 else skin,
            shoes=random_colour(rng, saturation=(0.0, 0.8), value=(0.2, 0.95)),
        )


class Part(NamedTuple):
    """The convex hull of some balls: a limb, the torso, a plate."""

    centres: np.ndarray
    """Of the balls, in metres, `(N, 3)`."""
    radii: tuple[float, ...]
    """In metres, one for each ball."""
    colour: Colour
    depth_shift: np.ndarray | float = 0.0
    """Metres `(3,)` added to the part's position when parts are sorted by depth."""


def figure_parts(at: Joints, body: Body, look: Look) -> list[Part]:
    """Return the parts of a person whose joints are at these positions."""
    r, bulge = body.limb, 1.3 * body.limb
    spine = (at["chest"] - at["hips"]) / body.torso
    front = np.cross(at["left shoulder"] - at["right shoulder"], spine)
    front /= np.linalg.norm(front)
    head, crown = at["head"], at["head"] + 0.035 * spine - 0.025 * front
    trunk = np.stack([at[f"{side} {part}"] for part in ("shoulder", "hip") for side in ("left", "right")])
    return [
        Part(trunk, (r, r, bulge, bulge), look.shirt),
        Part(trunk[2:], (1.45 * r, 1.45 * r), look.trousers, 0.01 * front),
        Part(np.stack([at["chest"], head]), (0.85 * r, 0.8 * r), look.skin),
        Part(np.stack([crown - 0.02 * front, crown + 0.01 * front]), (body.head, 0.97 * body.head), look.hair),
        Part(np.stack([head - 0.045 * spine, head]) + 0.035 * front, (0.72 * body.head, 0.82 * body.head), look.skin),
        *(part for side in ("left", "right") for part in _limbs(at, side, r, look, front)),
    ]


def _limbs(at: Joints, side: str, r: float, look: Look, front: np.ndarray) -> list[Part]:
    def part(joints: tuple[str, ...], radii: tuple[float, ...], colour: Colour, forward: float) -> Part:
        centres = np.stack([at[f"{side} {joint}"] for joint in joints])
        return Part(centres, tuple(r * radius for radius in radii), colour, forward * front)

    # An arm that crosses the body or the face passes in front of it.
    return [
        part(("hip", "knee"), (1.45, 1.1), look.trousers, 0.0),
        part(("knee", "ankle"), (1.1, 0.75), look.legs, 0.0),
        part(("ankle", "toe"), (0.85, 0.65), look.shoes, 0.02),
        part(("shoulder", "elbow"), (1.2, 1.0), look.sleeve, 0.2),
        part(("elbow", "hand"), (1.0, 0.85), look.skin, 0.22),
        part(("hand",), (1.2,), look.skin, 0.23),
    ]


def weight_parts(at: Joints, kind: str) -> list[Part]:
    """Return the parts of a weight in the hands, `barbell` or `dumbbells`; none of another kind."""
    left, right = at["left hand"], at["right hand"]
    if kind == "barbell":
        across = (left - right) / np.linalg.norm(left - right)
        ends = np.stack([left + 0.42 * across, right - 0.42 * across])
        plates = [_disc(end - inwards * 0.08 * across, 0.19) for inwards, end in zip((1, -1), ends, strict=True)]
        return [Part(ends, (0.018, 0.018), STEEL, np.array([0.1, 0, 0])), *plates]
    if kind == "dumbbells":
        along = np.array([0.0, 0.12, 0.0])
        return [
            part
            for hand in (left, right)
            for part in (
                Part(np.stack([hand - along, hand + along]), (0.025, 0.025), STEEL, np.array([0.24, 0, 0])),
                *(Part((hand + end * along)[None], (0.07,), IRON, np.array([0.25, 0, 0])) for end in (1, -1)),
            )
        ]
    return []


def _disc(centre: np.ndarray, radius: float) -> Part:
    """Return a plate perpendicular to the person's left-right axis."""
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rim = radius * np.stack([np.cos(angle), np.zeros(16), np.sin(angle)], axis=-1)
    return Part(centre + rim, (0.03,) * 16, IRON)


def draw_parts(canvas: Image.Image, parts: Sequence[Part], camera: Camera, light: np.ndarray) -> None:
    """Draw parts back to front, each with a dark rim and a lit side.

    `light` is the direction of the light in the picture, `(2,)`.
    """
    draw = ImageDraw.Draw(canvas)
    pixels, scales, _ = camera.project(np.concatenate([part.centres for part in parts]))
    _, _, nearness = camera.project(np.stack([part.centres.mean(axis=0) + part.depth_shift for part in parts]))
    ends = np.cumsum([len(part.centres) for part in parts])
    for index in np.argsort(nearness):
        part, balls = parts[index], slice(ends[index] - len(parts[index].centres), ends[index])
        centres, radii = pixels[balls], scales[balls] * np.array(part.radii)
        shade = float(np.clip(0.9 + 0.5 * nearness[index], 0.72, 1.0))
        draw.polygon(_hull(centres, radii + 1.2), fill=shaded(part.colour, 0.5 * shade))
        draw.polygon(_hull(centres, radii - 0.3), fill=shaded(part.colour, 0.85 * shade))
        lit = centres + 0.28 * radii[:, None] * light
        draw.polygon(_hull(lit, 0.6 * radii), fill=shaded(part.colour, 1.06 * shade))


_DIRECTIONS = np.stack([np.cos(np.linspace(0, 2 * np.pi, 28)), np.sin(np.linspace(0, 2 * np.pi, 28))], axis=-1)


def _hull(centres: np.ndarray, radii: np.ndarray) -> list[float]:
    """Return the outline of the convex hull of discs: in each direction, the point of the disc that reaches furthest.

    Centres `(N, 2)` and radii `(N,)` are in pixels.
    """
    furthest = (_DIRECTIONS @ centres.T + radii).argmax(axis=1)
    return (centres[furthest] + radii[furthest, None] * _DIRECTIONS).ravel().tolist()


def draw_shadow(canvas: Image.Image, at: Joints, camera: Camera, strength: float) -> None:
    """Darken the floor below the joints; `strength` is 0 to 1."""
    ground = np.stack(list(at.values())) * np.array([1.0, 1.0, 0.0])
    pixels, scales, _ = camera.project(ground)
    low, high = pixels.min(axis=0) - 0.12 * scales.max(), pixels.max(axis=0) + 0.12 * scales.max()
    low[1], high[1] = low[1] + 0.06 * scales.max(), high[1] - 0.04 * scales.max()
    width, height = (np.ceil(high - low)).astype(int).tolist()
    mask = _soft_disc().resize((max(1, width), max(1, height))).point(lambda value: int(value * strength))
    canvas.paste((12, 10, 14), (int(low[0]), int(low[1])), mask)


@functools.cache
def _soft_disc() -> Image.Image:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    return Image.fromarray((255 * np.clip(1.2 * (1 - np.hypot(x, y)), 0, 1)).astype(np.uint8))
