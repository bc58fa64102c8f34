"""Section `space`: the values that trials try.

Each field of `SpaceConfig` that lists values is an axis of the search space: a trial has one value on each axis. So is
each setting in `train.py` and each option of an architecture: a new setting of the training loop is added there.
"""

from __future__ import annotations

import math
import random
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tuning.config.schema.base import Listed, Settings


class LogRange(Settings):
    """A range that is searched evenly on a logarithmic scale."""

    low: float = Field(gt=0)
    """Smallest value."""
    high: float = Field(gt=0)
    """Largest value."""

    @model_validator(mode="after")
    def _ordered(self) -> LogRange:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self

    def sample(self, rng: random.Random) -> float:
        """Return a random value, uniform in the logarithm."""
        return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))


LearningRates = Listed[Annotated[float, Field(gt=0)]] | LogRange
FrameCounts = Listed[Annotated[int, Field(ge=1)]]


class ArchSpaceConfig(Settings):
    """Values for one architecture; a field that is not set has the values of `space`."""

    weights: Listed[str] | None = None
    """Weights to start from: `none`, a name such as `imagenet`, or a file. `null`: those of `models.ARCH.weights`."""
    lr: LearningRates | None = None
    """Peak learning rates, or a range `{low: …, high: …}`. `null`: those of `space.lr`."""
    num_frames: FrameCounts | None = None
    """Frame counts. `null`: those of `space.num_frames`."""
    train: dict[str, Listed[Any]] = Field(default_factory=dict)
    """Settings of `train` with the values to try. They replace those of `space.train` and add to them."""
    options: dict[str, Listed[Any]] = Field(default_factory=dict)
    """Options of the architecture with the values to try, such as `{temporal: [average, lstm]}`."""


class SpaceConfig(Settings):
    """The search space: a trial has one value of each list. A single value counts as a list of one."""

    arch: Listed[str] = ("resnet18", "c3d")
    """Architectures by name; `python -m models list` prints them."""
    sampler: Listed[Literal["imbalanced", "sqrt", "balanced"]] = ("imbalanced", "balanced")
    """How an epoch draws clips. `imbalanced`: each clip once. `balanced`: all classes equally often. `sqrt`: classes in
    proportion to the square root of their number of clips, which is in between (arXiv 1805.00932)."""
    loss: Listed[Literal["plain", "weighted"]] = ("plain",)
    """`plain`: the losses of all clips count equally. `weighted`: by the inverse of the class's number of clips."""
    balanced_and_weighted: Literal["refuse", "leave-out", "try"] = "refuse"
    """What to do with trials that correct the imbalance twice, by a `sqrt` or `balanced` sampler and a `weighted` loss:
    `refuse` to start, `leave-out` these trials, or `try` them."""
    lr: LearningRates = (1e-3, 1e-4)
    """Peak learning rates. Random and Optuna search also take a range `{low: …, high: …}`."""
    num_frames: FrameCounts = (8, 16)
    """Number of frames per clip that the model takes. If it is not set, counts above `store.frames` are left out."""
    selection: Listed[Literal["uniform", "dense"]] = ("uniform",)
    """Which stored frames the model takes. `uniform`: spread over the whole clip. `dense`: consecutive frames,
    `train.stride` apart."""
    train: dict[str, Listed[Any]] = Field(default_factory=dict)
    """Settings of `train` with several values to try, such as `{mixup: [0, 0.2], trainable: [all, head]}`. All settings
    of `train` but `epochs` and `seed` can be tried."""
    by_arch: dict[str, Listed[ArchSpaceConfig]] = Field(default_factory=dict)
    """Other values for some architectures, by name. A list of such spaces tries each of them, for instance `weights:
    none` at one learning rate, and pretrained weights at others with fewer stages trained."""

    @model_validator(mode="after")
    def _an_architecture_is_tried(self) -> SpaceConfig:
        if not self.arch:
            raise ValueError("arch has no value to try")
        if len(set(self.arch)) < len(self.arch):
            raise ValueError("arch names a value twice")
        return self


_NOT_AXES = ("arch", "balanced_and_weighted", "train", "by_arch")

AXES = ("arch", "weights", *(name for name in SpaceConfig.model_fields if name not in _NOT_AXES))
"""Names of the axes that every sweep has. `weights` comes from `models` or `space.by_arch`."""

TRAIN_PREFIX = "train."
"""Prefix of an axis that is a setting of `train`, such as `train.mixup`."""

MODEL_PREFIX = "model."
"""Prefix of an axis that is an option of an architecture, such as `model.temporal`."""


def corrects_imbalance_twice(sampler: str, loss: str) -> bool:
    """Whether both the sampler and the loss favour rare classes, so that their effects can't be told apart."""
    return sampler != "imbalanced" and loss == "weighted"
