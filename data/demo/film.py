"""Filming of a demo clip: a person in a room before a hand-held camera, as a stream of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from data.demo.camera import Camera
from data.demo.encode import Take
from data.demo.exercises import EXERCISES, Exercise
from data.demo.figure import Look, draw_parts, draw_shadow, figure_parts, weight_parts
from data.demo.plan import DemoClip
from data.demo.random_streams import named_generator
from data.demo.room import draw_room
from data.demo.skeleton import Body, joint_positions

_FRAME_SIZES = ((160, 120), (192, 108), (176, 144), (120, 160), (108, 192), (144, 144))
_FRAME_RATES = tuple(
    Fraction(*rate) for rate in ((24, 1), (24000, 1001), (25, 1), (30000, 1001), (30, 1), (50, 1), (60, 1))
)
_SUPERSAMPLING = 2
_SWAY = 2.0
"""Largest drift of a hand-held camera, in pixels of the video."""


@dataclass(frozen=True)
class _Scene:
    """One person in one room before one camera: what all clips of a group share."""

    body: Body
    look: Look
    camera: Camera
    room: Image.Image
    """The empty room, supersampled, with a margin for the camera's sway."""
    size: tuple[int, int]
    """Width and height of the video in pixels."""
    light: np.ndarray
    """Direction of the light in the picture, `(2,)`."""
    shadow: float
    """Darkness of the shadow on the floor, 0 to 1."""
    brightness: float
    """Factor on all pixels."""


def film_clip(clip: DemoClip, seed: int) -> Take:
    """Return the frames of a clip, drawn one by one as they are iterated over."""
    scene, exercise = _scene(clip, seed), EXERCISES[clip.label]
    rng = named_generator(seed, clip.path)
    rate = _FRAME_RATES[rng.integers(len(_FRAME_RATES))]
    seconds = rng.uniform(1.0, 4.0)
    if exercise.circle:
        # Half a turn between two of 8 frames would hide the direction: stay well below.
        cycles = rng.uniform(0.9, 1.5)
    else:
        cycles = rng.uniform(1.0, max(1.01, min(3.0, seconds / exercise.seconds)))
    count = round(seconds * rate)
    phases = rng.random() + cycles * np.arange(count) / count
    return Take(_frames(scene, exercise, phases, rng), scene.size, rate, quality=int(rng.integers(18, 26)))


def _scene(clip: DemoClip, seed: int) -> _Scene:
    rng = named_generator(seed, clip.group)
    exercise = EXERCISES[clip.label]
    size = _FRAME_SIZES[rng.integers(len(_FRAME_SIZES))]
    margin = round(2 * _SUPERSAMPLING * _SWAY)
    canvas_size = (_SUPERSAMPLING * size[0] + margin, _SUPERSAMPLING * size[1] + margin)
    body, look = Body.random(rng), Look.random(rng)
    camera = Camera(
        yaw=np.radians(rng.uniform(*exercise.yaw)),
        elevation=np.radians(rng.uniform(2, 12)),
        roll=np.radians(rng.uniform(-2.5, 2.5)),
        distance=rng.uniform(3.5, 7.0),
        mirror=int(rng.choice((-1, 1))),
    )
    extent = _extent(exercise, body)
    camera = camera.aimed_at(extent, canvas_size, margin, fill=rng.uniform(0.88, 1.0), offset=rng.uniform(-1, 1, 2))
    angle = rng.uniform(np.pi, 2 * np.pi)
    room = draw_room(camera, (look.skin, look.sleeve), canvas_size, rng)
    light = np.array([np.cos(angle), np.sin(angle)])
    shadow, brightness = rng.uniform(0.3, 0.6), rng.uniform(0.85, 1.1)
    return _Scene(body, look, camera, room, size, light, shadow, brightness)


def _extent(exercise: Exercise, body: Body) -> np.ndarray:
    """Return the corners of boxes around all joints and weights over a cycle, in metres, `(N, 3)`."""
    box = np.stack(np.meshgrid(*([[-0.13, 0.13]] * 3)), axis=-1).reshape(-1, 3)
    points = []
    for phase in np.linspace(0, 1, 16, endpoint=False):
        at = joint_positions(exercise.pose(phase), body, exercise.support)
        points += [*at.values(), *(centre for part in weight_parts(at, exercise.weight) for centre in part.centres)]
    return (np.stack(points)[:, None] + box).reshape(-1, 3)


def _frames(scene: _Scene, exercise: Exercise, phases: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield a frame uint8 `(H, W, 3)` for each phase, with camera sway and sensor noise."""
    width, height = scene.size
    noise = rng.normal(0, rng.uniform(0.5, 4.0), (height + 32, width + 32, 1)).astype(np.float32)
    brightness = scene.brightness * rng.uniform(0.95, 1.05)
    sway = _SWAY * rng.random(2) * rng.uniform(0, 1)
    drift = 2 * np.pi * (rng.random(2) + np.linspace(0, 1, len(phases))[:, None] * rng.uniform(-1.5, 1.5, 2))
    for phase, wave in zip(phases, np.sin(drift), strict=True):
        canvas = _draw(scene, exercise, phase)
        left, top = np.round(_SUPERSAMPLING * (_SWAY + sway * wave)).astype(int).tolist()
        window = (left, top, left + _SUPERSAMPLING * width, top + _SUPERSAMPLING * height)
        picture = np.asarray(canvas.crop(window).reduce(_SUPERSAMPLING), np.float32)
        y, x = rng.integers(0, 32, 2)
        yield np.clip(picture * brightness + noise[y : y + height, x : x + width], 0, 255).astype(np.uint8)


def _draw(scene: _Scene, exercise: Exercise, phase: float) -> Image.Image:
    canvas = scene.room.copy()
    at = joint_positions(exercise.pose(phase), scene.body, exercise.support)
    draw_shadow(canvas, at, scene.camera, scene.shadow)
    parts = [*figure_parts(at, scene.body, scene.look), *weight_parts(at, exercise.weight)]
    draw_parts(canvas, parts, scene.camera, scene.light)
    return canvas
