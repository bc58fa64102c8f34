"""Transforms from stored frames to model inputs: crop and flip of clips on the CPU, normalisation of batches."""

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
    """Smallest share of the largest square's area that a crop covers."""
    flip: bool = True
    """Mirror clips with probability 0.5."""

    def __call__(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Transform uint8 `(T, 3, h, w)` to uint8 `(T, 3, size, size)`."""
        top, left, height, width = _random_box(frames.shape[-2], frames.shape[-1], self.min_scale, rng)
        flipped = self.flip and rng.random() < 0.5
        frames = F.resized_crop(frames, top, left, height, width, [self.size, self.size], antialias=True)
        return F.horizontal_flip(frames) if flipped else frames


def _random_box(height: int, width: int, min_scale: float, rng: np.random.Generator) -> tuple[int, ...]:
    """Return top, left, height and width of a crop of `min_scale` to 1 of the largest square, aspect 3:4 to 4:3.

    The area is relative to the largest square because that is what evaluation crops: crops of a wide frame's whole area
    would train on smaller people than are evaluated.
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
    """Resize the short side to `size` and crop a square, without randomness.

    A single crop is the centre. Several crops are spread evenly along the longer side: three are the left, centre and
    right of a wide frame, or the top, centre and bottom of a tall one (arXiv 1812.03982, section 4, after arXiv
    1711.07971). All crops of a square frame are the same.
    """

    size: int
    """Height and width of the result in pixels."""
    crop: int = 0
    """Index of the crop, from the left or from the top."""
    crops: int = 1
    """Number of crops along the longer side."""

    def __post_init__(self) -> None:
        assert 0 <= self.crop < self.crops

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Transform uint8 `(T, 3, h, w)` to uint8 `(T, 3, size, size)`."""
        frames = F.resize(frames, [self.size], antialias=True)
        position = self.crop / (self.crops - 1) if self.crops > 1 else 0.5
        top, left = (round(position * (length - self.size)) for length in frames.shape[-2:])
        return F.crop(frames, top, left, self.size, self.size)


class Normalise(torch.nn.Module):
    """Converts uint8 frames to float32 with the mean and standard deviation that a model's weights expect.

    Mean and standard deviation are buffers on the module's device. As numbers they would be copied in each call, which
    forces a GPU sync.
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
        """Convert uint8 `(…, 3, H, W)` to float32 `(…, 3, H, W)`."""
        return F.normalize(F.to_dtype(frames, torch.float32, scale=True), self.mean, self.std)
