"""All settings of a sweep, and the choices of its search space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import Field, field_validator

from tuning.config.messages import as_yaml
from tuning.config.schema.base import Settings
from tuning.config.schema.data import DataConfig
from tuning.config.schema.evaluation import TestConfig
from tuning.config.schema.resources import ResourcesConfig
from tuning.config.schema.search import SearchConfig
from tuning.config.schema.space import (
    AXES,
    MODEL_PREFIX,
    TRAIN_PREFIX,
    ArchSpaceConfig,
    LogRange,
    SpaceConfig,
    corrects_imbalance_twice,
)
from tuning.config.schema.store import StoreConfig
from tuning.config.schema.tracking import TrackingConfig
from tuning.config.schema.train import TrainConfig
from tuning.config.subspace import AxisValues, Subspace, select_prefix

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Pattern of a run's name, which is also the name of its folder."""


class SweepConfig(Settings):
    """All settings of a sweep."""

    name: str | None = Field(None, max_length=100, pattern=RUN_NAME)
    """Name of the run folder. `null`: the name of the config file and the time. `--name` sets it."""
    runs_dir: str = Field("runs", min_length=1)
    """Folder of the run folders. On a cluster a folder that all nodes mount."""
    data: DataConfig = DataConfig()
    """The clips and their split."""
    store: StoreConfig = StoreConfig()
    """The decoded frames."""
    space: SpaceConfig = SpaceConfig()
    """The values that trials try."""
    search: SearchConfig = SearchConfig()
    """How the space is searched."""
    train: TrainConfig = TrainConfig()
    """How a trial trains."""
    test: TestConfig = TestConfig()
    """How the champion is evaluated on the test split."""
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """For each architecture its options and its `weights`: `none`, a name such as `imagenet`, a file, or the `best`
    folder of another run. docs/models.md lists the options and the names of weights."""
    weights_dir: str | None = Field(None, min_length=1)
    """Folder of pretrained weight files; missing ones are downloaded into it. On a cluster a folder that all nodes
    mount. `null`: PyTorch's own folder, under TORCH_HOME. `--weights-dir` sets it."""
    resources: ResourcesConfig = ResourcesConfig()
    """What each trial takes of the machine or cluster."""
    tracking: TrackingConfig = TrackingConfig()
    """Where MLflow records runs and models."""

    @field_validator("models")
    @classmethod
    def _weights_are_text(cls, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for arch, settings in models.items():
            if not isinstance(weights := settings.get("weights", "none"), str):
                raise ValueError(f"{arch}.weights is {as_yaml(weights)}: give none, a name such as imagenet, or a path")
        return models

    def weights(self, arch: str) -> str:
        """Return `models.ARCH.weights`, from which trials start unless `space.by_arch` says otherwise."""
        return str(self.models.get(arch, {}).get("weights", "none"))

    def options(self, arch: str, choice: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return the options of an architecture: `models.ARCH`, overridden by the options of a choice."""
        options = {key: value for key, value in self.models.get(arch, {}).items() if key != "weights"}
        chosen = select_prefix(choice, MODEL_PREFIX)
        return {**options, **{key: value for key, value in chosen.items() if value is not None}}

    def subspaces(self) -> list[Subspace]:
        """Return the subspaces of the search space, in the order of `space.arch`."""
        common = (ArchSpaceConfig(),)
        spaces = [(arch, own) for arch in self.space.arch for own in self.space.by_arch.get(arch, common)]
        train = list(dict.fromkeys([*self.space.train, *(name for _, own in spaces for name in own.train)]))
        options = list(dict.fromkeys(name for _, own in spaces for name in own.options))
        return [self._subspace(arch, own, train, options) for arch, own in spaces]

    def choices(self) -> list[dict[str, Any]] | None:
        """Return every combination of a space of lists, last axis fastest; None if an axis is a range."""
        subspaces = self.subspaces()
        if any(isinstance(values, LogRange) for subspace in subspaces for values in subspace.axes.values()):
            return None
        found = [choice for subspace in subspaces for choice in subspace.combinations(list(subspace.axes))]
        return [choice for choice in found if self.allows(choice)]

    def allows(self, choice: Mapping[str, Any]) -> bool:
        """Whether `space.balanced_and_weighted` keeps this choice."""
        leave_out = self.space.balanced_and_weighted == "leave-out"
        return not (leave_out and corrects_imbalance_twice(choice["sampler"], choice["loss"]))

    def train_config(self, choice: Mapping[str, Any]) -> TrainConfig:
        """Return the training settings of a trial.

        Args:
            choice: the value of each axis. Axes `train.NAME` and the `seed` of a finalist override `train`.

        Raises:
            ValidationError: the values can't be combined.
        """
        chosen = select_prefix(choice, TRAIN_PREFIX)
        seed = {"seed": choice["seed"]} if "seed" in choice else {}
        return TrainConfig.model_validate({**dict(self.train), **chosen, **seed}, strict=True)

    def train_configs(self, subspace: Subspace) -> list[TrainConfig]:
        """Return the training settings of each combination of the axes `train.NAME` in a subspace."""
        return [self.train_config(choice) for choice in subspace.combinations(subspace.axes_with(TRAIN_PREFIX))]

    def _subspace(self, arch: str, own: ArchSpaceConfig, train: Sequence[str], options: Sequence[str]) -> Subspace:
        defaults = {**dict(self.space), "arch": (arch,), "weights": (self.weights(arch),)}
        train_values = {**self.space.train, **own.train}
        axes: dict[str, AxisValues] = {axis: _first_set(getattr(own, axis, None), defaults[axis]) for axis in AXES}
        for name in train:
            axes[f"{TRAIN_PREFIX}{name}"] = train_values.get(name, (getattr(self.train, name, None),))
        for name in options:
            axes[f"{MODEL_PREFIX}{name}"] = own.options.get(name, (None,))
        return Subspace(arch, f"space.by_arch.{arch}" if arch in self.space.by_arch else "space", axes)


def _first_set(values: AxisValues | None, default: AxisValues) -> AxisValues:
    return default if values is None else values
