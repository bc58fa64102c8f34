"""From stored frames to what a model takes: crop and flip a clip on the CPU, scale and normalise a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F


@dataclass(frozen=True, slots=True)
class TrainTransform:
    """Random resized crop and horizontal flip, the same on all frames of a clip."""

    size: int
    """Height and width of the result in pixels."""
    min_scale: float = 0.5
    """Smallest part of the frame's area that a crop may show."""
    flip: bool = True
    """Mirror every second clip."""

    def __call__(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """`(T, 3, h, w)` uint8 to `(T, 3, size, size)` uint8."""
        top, left, height, width = _random_box(frames.shape[-2], frames.shape[-1], self.min_scale, rng)
        flipped = self.flip and rng.random() < 0.5
        frames = F.resized_crop(frames, top, left, height, width, [self.size, self.size], antialias=True)
        return F.horizontal_flip(frames) if flipped else frames


def _random_box(height: int, width: int, min_scale: float, rng: np.random.Generator) -> tuple[int, ...]:
    """Top, left, height and width of a crop of `min_scale` to 1 of the largest square, aspect 3:4 to 4:3.

    The largest centred square is what evaluation shows: a crop of a wide frame's whole area would train on
    people smaller than any that are evaluated.
    """
    area = min(height, width) ** 2 * rng.uniform(min_scale, 1.0)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    box_width = min(width, max(1, round(np.sqrt(area * aspect))))
    box_height = min(height, max(1, round(np.sqrt(area / aspect))))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    return top, left, box_height, box_width


@dataclass(frozen=True, slots=True)
class EvalTransform:
    """Short side to `size`, then a square of the frame: no randomness.

    One crop is the centre. Several are spread evenly along the longer side, from one end to the other: of three, the
    left, centre and right of a wide frame, the top, centre and bottom of a tall one (arXiv 1812.03982, section 4, after
    arXiv 1711.07971). Of a square frame all are the same.
    """

    size: int
    """Height and width of the result in pixels."""
    crop: int = 0
    """Which of the `crops` squares, from the left or from the top."""
    crops: int = 1
    """How many squares share out the longer side."""

    def __post_init__(self) -> None:
        assert 0 <= self.crop < self.crops

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """`(T, 3, h, w)` uint8 to `(T, 3, size, size)` uint8."""
        frames = F.resize(frames, [self.size], antialias=True)
        place = self.crop / (self.crops - 1) if self.crops > 1 else 0.5
        top, left = (round(place * (length - self.size)) for length in frames.shape[-2:])
        return F.crop(frames, top, left, self.size, self.size)


class Normalise(torch.nn.Module):
    """uint8 frames to float32 with the mean and deviation that a model's weights expect; on the batch's device.

    Both lie on the module's device: as numbers they would be copied at each call, for which a GPU has to wait.
    """

    mean: torch.Tensor
    """float32 `(3, 1, 1)`."""
    std: torch.Tensor
    """float32 `(3, 1, 1)`."""

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(…, 3, H, W)` uint8 to `(…, 3, H, W)` float32."""
        return F.normalize(F.to_dtype(frames, torch.float32, scale=True), self.mean, self.std)
