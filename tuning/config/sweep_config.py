"""A whole sweep's settings, and what each trial gets of them, typed and checked before anything starts.

A sweep is one complete `SweepConfig`: a YAML file, then `KEY=VALUE` overrides. What a trial gets is a
`TrialConfig`: the sweep's settings with one choice for each axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import Field

from data.loading.sampling import FrameSelection
from tuning.config.schema import (
    MODEL_AXIS,
    RUN_NAME,
    TRAIN_AXIS,
    DataConfig,
    LogRange,
    OwnSpaceConfig,
    ResourcesConfig,
    SearchConfig,
    Settings,
    SpaceConfig,
    StoreConfig,
    TestConfig,
    TrackingConfig,
    TrainConfig,
    corrected_twice,
)
from tuning.config.subspace import Subspace, Values, own_part


class SweepConfig(Settings):
    """All settings of one sweep."""

    name: str | None = Field(None, max_length=100, pattern=RUN_NAME)
    """Name of the run's folder; default: the config file's name and the time."""
    runs_dir: str = "runs"
    """Where run folders lie; on a cluster a folder that all nodes mount."""
    data: DataConfig = DataConfig()
    """The clips."""
    store: StoreConfig = StoreConfig()
    """The decoded frames."""
    space: SpaceConfig = SpaceConfig()
    """What is tried."""
    search: SearchConfig = SearchConfig()
    """How it is searched."""
    train: TrainConfig = TrainConfig()
    """How a trial trains."""
    test: TestConfig = TestConfig()
    """How the champion is tested."""
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """For each architecture its options and `weights` (`imagenet`, `none` or a file)."""
    weights_dir: str | None = Field(None, min_length=1)
    """Folder of the files of named weights, where missing ones are downloaded to (or `--weights-dir`); on a cluster one
    that all nodes mount. Default: torch's own, under TORCH_HOME."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a trial takes."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow."""

    def weights(self, arch: str) -> str:
        """Weights that trials of this architecture start from, where its space does not say otherwise."""
        return str(self.models.get(arch, {}).get("weights", "none"))

    def options(self, arch: str, choice: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """The architecture's own options as set, with those that a choice has of its own."""
        own = own_part(choice, MODEL_AXIS)
        as_set = {key: value for key, value in self.models.get(arch, {}).items() if key != "weights"}
        return {**as_set, **{key: value for key, value in own.items() if value is not None}}

    def subspaces(self) -> list[Subspace]:
        """What is tried, an architecture at a time, in the order of the settings."""
        usual = (OwnSpaceConfig(),)
        spaces = [(arch, own) for arch in self.space.arch for own in self.space.by_arch.get(arch, usual)]
        train = list(dict.fromkeys([*self.space.train, *(name for _, own in spaces for name in own.train)]))
        options = list(dict.fromkeys(name for _, own in spaces for name in own.options))
        return [self._subspace(arch, own, train, options) for arch, own in spaces]

    def choices(self) -> list[dict[str, Any]] | None:
        """Every combination of a space of lists, the last axis fastest; None if a range makes them endless."""
        subspaces = self.subspaces()
        if any(isinstance(values, LogRange) for subspace in subspaces for values in subspace.axes.values()):
            return None
        found = [choice for subspace in subspaces for choice in subspace.combinations(list(subspace.axes))]
        return [choice for choice in found if self.allows(choice)]

    def allows(self, choice: Mapping[str, Any]) -> bool:
        """Whether a choice is not one of those to leave out."""
        leave_out = self.space.balanced_and_weighted == "leave-out"
        return not (leave_out and corrected_twice(choice["sampler"], choice["loss"]))

    def _subspace(self, arch: str, own: OwnSpaceConfig, train: Sequence[str], options: Sequence[str]) -> Subspace:
        space, train_values = self.space, {**self.space.train, **own.train}
        axes: dict[str, Values] = {
            "arch": (arch,),
            "weights": (self.weights(arch),) if own.weights is None else own.weights,
            "sampler": space.sampler,
            "loss": space.loss,
            "lr": space.lr if own.lr is None else own.lr,
            "num_frames": space.num_frames if own.num_frames is None else own.num_frames,
            "selection": space.selection,
            **{f"{TRAIN_AXIS}{name}": train_values.get(name, (getattr(self.train, name, None),)) for name in train},
            **{f"{MODEL_AXIS}{name}": own.options.get(name, (None,)) for name in options},
        }
        return Subspace(arch, f"space.by_arch.{arch}" if arch in space.by_arch else "space", axes)

    def train_with(self, choice: Mapping[str, Any]) -> TrainConfig:
        """How a trial with this choice trains.

        Args:
            choice: a value for each axis; those of `space.train` and a finalist's `seed` are taken from it.

        Raises:
            ValidationError: the values don't go together.
        """
        own = own_part(choice, TRAIN_AXIS)
        own |= {"seed": choice["seed"]} if "seed" in choice else {}
        return TrainConfig.model_validate({**self.train.model_dump(), **own}, strict=True)

    def trainings(self, subspace: Subspace) -> list[TrainConfig]:
        """All ways that trials of a subspace train, apart from what the other axes decide."""
        return [self.train_with(choice) for choice in subspace.combinations(subspace.named(TRAIN_AXIS))]


class TrialConfig(Settings):
    """One trial: what its worker needs beside the clips."""

    arch: str
    """Architecture."""
    options: dict[str, Any]
    """Its options."""
    weights: str
    """Weights to start from: `none`, `imagenet` or a file."""
    sampler: str
    """Which clips an epoch draws."""
    loss: str
    """`plain` or `weighted`."""
    lr: float
    """Peak learning rate."""
    num_frames: int
    """Frames of a clip that the model sees."""
    selection: str
    """How they are selected."""
    train: TrainConfig
    """How it trains."""
    metric: str
    """What decides between its epochs."""
    weights_dir: str | None = None
    """Where the files of named weights lie."""

    @classmethod
    def choose(cls, sweep: SweepConfig, choice: dict[str, Any]) -> TrialConfig:
        """The sweep's settings with one choice: a value for each axis of the space, and for a finalist its `seed`."""
        arch = choice["arch"]
        return cls(
            arch=arch,
            options=sweep.options(arch, choice),
            weights=choice["weights"],
            sampler=choice["sampler"],
            loss=choice["loss"],
            lr=choice["lr"],
            num_frames=choice["num_frames"],
            selection=choice["selection"],
            train=sweep.train_with(choice),
            metric=sweep.search.metric,
            weights_dir=sweep.weights_dir,
        )

    def frame_selection(self) -> FrameSelection:
        """Which of a clip's stored frames the model sees."""
        if self.selection == "dense":
            return FrameSelection(self.num_frames, "dense", stride=self.train.stride)
        return FrameSelection(self.num_frames, self.selection, min_span=self.train.min_span)
