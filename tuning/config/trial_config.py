"""The settings of one trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.loading.frame_selection import FrameSelection
from tuning.config.schema.base import Settings
from tuning.config.schema.space import AXES
from tuning.config.schema.train import TrainConfig
from tuning.config.sweep_config import SweepConfig


class TrialConfig(Settings):
    """The settings of one trial: the settings of the sweep with one value on each axis.

    Every checkpoint contains it. A new field needs a default with which older checkpoints can be read.
    """

    arch: str
    """Architecture."""
    options: dict[str, Any]
    """Options of the architecture."""
    weights: str
    """Weights to start from: `none`, a name such as `imagenet`, or a path."""
    sampler: str
    """How an epoch draws clips: `imbalanced`, `sqrt` or `balanced`."""
    loss: str
    """`plain` or `weighted` by class."""
    lr: float
    """Peak learning rate of the head."""
    num_frames: int
    """Number of frames per clip that the model takes."""
    selection: str
    """Which stored frames the model takes: `uniform` or `dense`."""
    train: TrainConfig
    """Training settings."""
    metric: str
    """Validation metric that ranks the trial's epochs."""
    weights_dir: str | None = None
    """Folder of pretrained weight files; None for PyTorch's own."""

    @classmethod
    def from_choice(cls, sweep: SweepConfig, choice: Mapping[str, Any]) -> TrialConfig:
        """Return the settings of the trial with this choice.

        Args:
            sweep: the settings of the sweep.
            choice: the value of each axis, and for a finalist its `seed`.
        """
        return cls(
            **{axis: choice[axis] for axis in AXES},
            options=sweep.options(choice["arch"], choice),
            train=sweep.train_config(choice),
            metric=sweep.search.metric,
            weights_dir=sweep.weights_dir,
        )

    def frame_selection(self) -> FrameSelection:
        """Return which of a clip's stored frames the model takes."""
        if self.selection == "dense":
            return FrameSelection(self.num_frames, "dense", stride=self.train.stride)
        return FrameSelection(self.num_frames, self.selection, min_span=self.train.min_span)
