"""What a batch becomes before a model trains on it: varied, normalised and mixed on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

_GREY = (127, 127, 127)


@dataclass(frozen=True, slots=True)
class Variety:
    """How much training clips are varied; 0 switches each off."""

    randaugment: int = 0
    """RandAugment's magnitude, at most 30, of two operations a clip (arXiv 1909.13719)."""
    colour: float = 0.0
    """Brightness, contrast and saturation change by up to this share, the hue by up to a quarter of it."""
    erasing: float = 0.0
    """Probability that a box is painted grey (arXiv 1708.04896)."""
    mixup: float = 0.0
    """Alpha of mixup (arXiv 1710.09412): a batch's clips fade into each other."""
    cutmix: float = 0.0
    """Alpha of CutMix (arXiv 1905.04899): a box of each clip shows another; with mixup, each takes half the batches."""


class Augment:
    """Stored clips to what a model trains on, the same on all frames of a clip and another for each clip.

    Time is never reversed: that turns some exercises into others.
    """

    def __init__(self, normalise: torch.nn.Module, num_classes: int, variety: Variety) -> None:
        self.normalise, self.num_classes = normalise, num_classes
        steps = _steps(variety)
        self._vary = v2.Compose(steps) if steps else None
        mixers = [mixer(alpha=a) for mixer, a in ((v2.MixUp, variety.mixup), (v2.CutMix, variety.cutmix)) if a]
        self._mix = v2.RandomChoice(mixers) if mixers else None

    def __call__(self, frames: torch.Tensor, label: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Vary, normalise and mix a batch; all that is random follows from the seed.

        Args:
            frames: uint8 `(B, T, 3, H, W)`.
            label: int64 `(B,)`.
            seed: of this batch.

        Returns:
            float32 `(B, T, 3, H, W)` and float32 `(B, K)`, the part of each class in each clip.
        """
        target = F.one_hot(label, self.num_classes).float()
        with _seeded(seed):
            if self._vary is not None:
                frames = torch.stack([self._vary(clip) for clip in frames])
            inputs = self.normalise(frames)
            if self._mix is not None:
                inputs, target = self._mix(tv_tensors.Video(inputs), target)
        return inputs.as_subclass(torch.Tensor), target


def _steps(variety: Variety) -> list[torch.nn.Module]:
    steps: list[torch.nn.Module] = []
    if variety.randaugment:
        steps.append(v2.RandAugment(magnitude=variety.randaugment, interpolation=InterpolationMode.BILINEAR))
    if variety.colour:
        steps.append(v2.ColorJitter(*[variety.colour] * 3, hue=variety.colour / 4))
    if variety.erasing:
        steps.append(v2.RandomErasing(p=variety.erasing, value=_GREY))
    return steps


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torchvision draws from the CPU's global generator, which dropout may be in the middle of."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
