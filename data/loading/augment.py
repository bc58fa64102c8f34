"""Augmentation, normalisation and mixing of training batches, on the training device."""

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
class AugmentSettings:
    """Strength of each augmentation; 0 switches it off."""

    randaugment: int = 0
    """RandAugment's magnitude, at most 30, of two operations per clip (arXiv 1909.13719)."""
    colour: float = 0.0
    """Brightness, contrast and saturation change by up to this share, the hue by up to a quarter of it."""
    erasing: float = 0.0
    """Probability that a box is painted grey (arXiv 1708.04896)."""
    mixup: float = 0.0
    """Alpha of mixup (arXiv 1710.09412): blend pairs of clips of a batch."""
    cutmix: float = 0.0
    """Alpha of CutMix (arXiv 1905.04899): replace a box of each clip by that of another. With mixup, each is applied to
    half of the batches."""


class Augment:
    """Turns batches of stored frames into model inputs and soft targets.

    All frames of a clip change in the same way, and each clip in a different way. Time is never reversed, because that
    turns some exercises into others.
    """

    def __init__(self, normalise: torch.nn.Module, num_classes: int, settings: AugmentSettings) -> None:
        self.normalise, self.num_classes = normalise, num_classes
        transforms = _clip_transforms(settings)
        self._clip_transform = v2.Compose(transforms) if transforms else None
        mixers = [mixer(alpha=a) for mixer, a in ((v2.MixUp, settings.mixup), (v2.CutMix, settings.cutmix)) if a]
        self._mix = v2.RandomChoice(mixers) if mixers else None

    def __call__(self, frames: torch.Tensor, label: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment, normalise and mix a batch; the seed decides everything random.

        Args:
            frames: uint8 `(B, T, 3, H, W)`.
            label: int64 `(B,)`.
            seed: of this batch.

        Returns:
            float32 `(B, T, 3, H, W)` and float32 `(B, K)`, the share of each class in each clip.
        """
        target = F.one_hot(label, self.num_classes).float()
        with _seeded(seed):
            if self._clip_transform is not None:
                frames = torch.stack([self._clip_transform(clip) for clip in frames])
            inputs = self.normalise(frames)
            if self._mix is not None:
                inputs, target = self._mix(tv_tensors.Video(inputs), target)
        return inputs.as_subclass(torch.Tensor), target


def _clip_transforms(settings: AugmentSettings) -> list[torch.nn.Module]:
    transforms: list[torch.nn.Module] = []
    if settings.randaugment:
        transforms.append(v2.RandAugment(magnitude=settings.randaugment, interpolation=InterpolationMode.BILINEAR))
    if settings.colour:
        transforms.append(v2.ColorJitter(*[settings.colour] * 3, hue=settings.colour / 4))
    if settings.erasing:
        transforms.append(v2.RandomErasing(p=settings.erasing, value=_GREY))
    return transforms


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator, from which torchvision draws, and restore its state afterwards for dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
