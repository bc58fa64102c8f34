"""A perspective camera that looks at a person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Camera:
    """Position, orientation and scale of a camera."""

    yaw: float
    """Radians round the person; 0 is in front."""
    elevation: float
    """Radians by which it looks down."""
    roll: float
    """Radians by which it is tilted sideways."""
    distance: float
    """Metres from the person."""
    mirror: int
    """-1 swaps left and right."""
    scale: float = 1.0
    """Pixels per metre at the person."""
    centre: tuple[float, float] = (0.0, 0.0)
    """The pixel that shows the point one metre above the floor below the person."""

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Project points `(N, 3)` in metres.

        Returns:
            Pixels `(N, 2)`, pixels per metre `(N,)` and metres towards the camera `(N,)`.
        """
        towards, right, up = self._axes()
        relative = points - np.array([0.0, 0.0, 1.0])
        nearness = relative @ towards
        scales = self.scale * self.distance / np.maximum(0.3, self.distance - nearness)
        x, y = self.mirror * scales * (relative @ right), -scales * (relative @ up)
        sin, cos = np.sin(self.roll), np.cos(self.roll)
        pixels = np.stack([x * cos - y * sin + self.centre[0], x * sin + y * cos + self.centre[1]], axis=-1)
        return pixels, scales, nearness

    def project_room(self, points: np.ndarray) -> np.ndarray:
        """Project points `(N, 3)`, given as metres to the right, behind the person, and up, to pixels `(N, 2)`."""
        towards, right, _ = self._axes()
        away = -np.array([towards[0], towards[1], 0.0]) / np.hypot(towards[0], towards[1])
        up = np.array([0.0, 0.0, 1.0])
        return self.project(points[:, :1] * right + points[:, 1:2] * away + points[:, 2:] * up)[0]

    def aimed_at(
        self, points: np.ndarray, size: tuple[int, int], margin: int, fill: float, offset: np.ndarray
    ) -> Camera:
        """Return this camera with the scale and centre that show all of some points.

        Args:
            points: in metres, `(N, 3)`.
            size: width and height of the picture in pixels.
            margin: pixels at each edge that stay free.
            fill: part of the central square that the points take up.
            offset: how far off the middle they are, -1 to 1 in x and y.
        """
        pixels, _, _ = self.project(points)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        square = min(size) - 2 * margin
        scale = fill * square / (high - low).max()
        spare = 0.5 * (square - scale * (high - low))
        # Limited to a part of the square, so that a low figure does not float at the top of the picture.
        x, y = np.array(size) / 2 - scale * (low + high) / 2 + offset * np.minimum(spare, 0.12 * square)
        return replace(self, scale=scale, centre=(float(x), float(y)))

    def _axes(self) -> np.ndarray:
        """Return unit vectors towards the camera, to the picture's right (unmirrored) and up, as rows."""
        (ys, es), (yc, ec) = np.sin((self.yaw, self.elevation)), np.cos((self.yaw, self.elevation))
        return np.array([[ec * yc, ec * ys, es], [-ys, yc, 0.0], [-es * yc, -es * ys, ec]])
