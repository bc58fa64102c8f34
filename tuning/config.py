"""Every setting of a sweep, typed and checked before anything starts.

A sweep is one complete `SweepConfig`: a YAML file, then `KEY=VALUE` overrides. What a trial gets is a
`TrialConfig`: the sweep's settings with one choice for each axis.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from torch.nn.modules.batchnorm import _BatchNorm

from data.cache import FrameStore
from data.decode import DecodeSettings
from data.sampling import FrameSelection
from models.errors import ModelError
from models.registry import ARCHITECTURES, architecture, build_model, check_input, check_weights, parse_options
from tuning.errors import TuningError


class ConfigError(TuningError):
    """A setting that can't be used."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


T = TypeVar("T")


def _listed(value: Any) -> Any:
    # A tuple, since past this function strict mode no longer takes a list for one.
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Listed = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""A list; one value alone stands for a list of one, so that `space.arch=c3d` does what it says."""


AUTO_GROUPS = "auto"
"""In place of a file of groups: find them."""


class DataConfig(_Settings):
    """The labelled clips and how they are split."""

    dir: str = ""
    """Folder of clips, one sub-folder a class (or `--data`)."""
    split: str | None = None
    """A split CSV to use as it is; default: a new split is made."""
    groups: str | None = None
    """`FILE.csv[:COLUMN]`, or `auto` to find them from pictures and file names: clips of one group (one source video)
    never stand in two splits."""
    folds: int = Field(0, ge=0)
    """2 or more: trials are scored on all clips but the test's, each by a model that has not seen it (grouped,
    stratified cross-validation); 0: on one validation split."""
    val: float = Field(0.15, gt=0, lt=1)
    """Share of each class's clips for validation, where there are no folds."""
    test: float = Field(0.15, gt=0, lt=1)
    """Share of each class's clips for the test."""
    seed: int = Field(0, ge=0)
    """Which of the many possible splits."""
    few_groups: Literal["refuse", "leave-out", "train"] = "refuse"
    """What to do with a class that has too few groups to stand in all three splits."""
    max_failed: float = Field(0.01, ge=0, lt=1)
    """Go on without clips that can't be decoded up to this share of all clips."""
    min_seconds: float = Field(0.5, ge=0)
    """A shorter clip is named as suspect, and used."""
    max_seconds: float = Field(60.0, gt=0)
    """A longer clip is named as suspect, and used."""
    copies: Literal["refuse", "allow"] = "refuse"
    """What to do where files with the same bytes stand under two labels, or in two splits of a given split file."""

    @model_validator(mode="after")
    def _folds_are_several(self) -> DataConfig:
        if self.folds == 1:
            raise ValueError("folds is 1, but one fold leaves nothing to train on: give 2 or more, or 0 for none")
        return self

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> DataConfig:
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds ({self.min_seconds:g}) must be below max_seconds ({self.max_seconds:g})")
        return self


class StoreConfig(_Settings):
    """The frame store that all trials read."""

    dir: str = "frame_store"
    """Where decoded frames lie; on a cluster a folder that all nodes mount, or a bucket (`s3://BUCKET/PREFIX`)."""
    local: str | None = None
    """A folder on each node's own disk for copies of what it reads; a bucket needs one, a network mount gains by it."""
    frames: int = Field(32, ge=1, le=1024)
    """Frames kept of each clip: no trial can see more."""
    short_side: int = Field(128, ge=16, le=2160)
    """Short side of a kept frame in pixels."""
    workers: int | None = Field(None, ge=1)
    """Decoding processes; default: one a core."""
    seconds_per_clip: float = Field(300.0, gt=0)
    """Time limit to decode one clip."""
    verify: bool = True
    """Compare the checksums of all stored frames in use before a sweep, and decode anew what is damaged."""

    @model_validator(mode="after")
    def _bucket_has_copies(self) -> StoreConfig:
        if "://" in self.dir and self.local is None:
            raise ValueError(f"dir is {self.dir!r}, a bucket, of which each node keeps copies: set store.local")
        return self

    def open(self, settings: DecodeSettings | None = None) -> FrameStore:
        """The store of these settings, or of those that a checkpoint names."""
        root = self.dir if "://" in self.dir else Path(self.dir)
        return FrameStore(root, settings or self.decode_settings(), Path(self.local) if self.local else None)

    def decode_settings(self) -> DecodeSettings:
        """The part of these settings that decides pixels."""
        return DecodeSettings(frames=self.frames, short_side=self.short_side)


class LogRange(_Settings):
    """A range searched evenly on a logarithmic scale."""

    low: float = Field(gt=0)
    """Smallest value."""
    high: float = Field(gt=0)
    """Largest value."""

    @model_validator(mode="after")
    def _ordered(self) -> LogRange:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


AXES = ("arch", "sampler", "loss", "lr", "num_frames", "selection")
"""What a trial of any sweep has one value of."""

TRAIN_AXIS = "train."
"""What the names of a sweep's further axes, those of `space.train`, begin with."""


class SpaceConfig(_Settings):
    """What is tried: one trial is one choice of each."""

    arch: Listed[str] = ("resnet18", "c3d")
    """Architectures by name."""
    sampler: Listed[Literal["imbalanced", "sqrt", "balanced"]] = ("imbalanced", "balanced")
    """Which clips an epoch draws: each once, or classes equally often, or `sqrt` between them."""
    loss: Listed[Literal["plain", "weighted"]] = ("plain",)
    """`weighted`: a clip's loss counts by one over its class's clips."""
    balanced_and_weighted: Literal["refuse", "leave-out", "try"] = "refuse"
    """What to do with trials that would correct the imbalance twice, by their sampler and by their loss."""
    lr: Listed[Annotated[float, Field(gt=0)]] | LogRange = (1e-3, 1e-4)
    """Peak learning rates, or `{low: …, high: …}` for random and Optuna search."""
    num_frames: Listed[Annotated[int, Field(ge=1)]] = (8, 16)
    """Frames of a clip that a model sees."""
    selection: Listed[Literal["uniform", "dense"]] = ("uniform",)
    """`uniform`: frames over the whole clip; `dense`: frames that follow each other, `train.stride` apart."""
    train: dict[str, Listed[Any]] = {}
    """Settings of `train` of which several values are tried, such as `{mixup: [0, 0.2], trainable: [all, head]}`."""

    @property
    def axes(self) -> dict[str, tuple[Any, ...] | LogRange]:
        """What is tried on each axis: those of `AXES`, then those of `train` as `train.NAME`."""
        train = {f"{TRAIN_AXIS}{name}": values for name, values in self.train.items()}
        return {**{axis: getattr(self, axis) for axis in AXES}, **train}

    @model_validator(mode="after")
    def _no_empty_or_repeated_axis(self) -> SpaceConfig:
        for axis, values in self.axes.items():
            if isinstance(values, LogRange):
                continue
            if not values:
                raise ValueError(f"{axis} has no value to try")
            if any(value in values[:place] for place, value in enumerate(values)):
                raise ValueError(f"{axis} names a value twice")
        return self


class AshaConfig(_Settings):
    """Asynchronous successive halving (arXiv 1810.05934): stop the trials that fall behind."""

    grace_epochs: int = Field(2, ge=1)
    """Epochs that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """One of so many trials goes on at each rung."""


class FinalistsConfig(_Settings):
    """After the search: the best choices trained anew, so that a lucky seed is not crowned."""

    top: int = Field(3, ge=1)
    """So many of the best choices by the search."""
    seeds: int = Field(3, ge=2)
    """Trials of each, with seeds that the search has not used; the mean over them decides."""


class SearchConfig(_Settings):
    """How the space is searched and what is best."""

    algorithm: Literal["grid", "random", "optuna"] = "grid"
    """`grid` tries every combination; `random` and `optuna` (TPE) try `trials` of them."""
    trials: int | None = Field(None, ge=1)
    """Number of trials for `random` and `optuna`."""
    asha: AshaConfig | None = AshaConfig()
    """Early stopping; `null` runs all trials to the end."""
    metric: Literal["val_macro_f1", "val_accuracy"] = "val_macro_f1"
    """What decides between epochs and between trials; never a test figure."""
    seed: int = Field(0, ge=0)
    """Seed of random and Optuna search."""
    finalists: FinalistsConfig | None = None
    """Try the best ones again with other seeds, all to the end, and choose among these; `null` for the single best."""

    @property
    def finalist_seeds(self) -> int | None:
        """Trials of each finalist, if there are finalists."""
        return self.finalists.seeds if self.finalists else None


class TrainConfig(_Settings):
    """How each trial trains."""

    epochs: int = Field(20, ge=1)
    """Epochs of a trial that is not stopped."""
    batch_size: int = Field(16, ge=1)
    """Clips a step and worker."""
    micro_batch: int | None = Field(None, ge=1)
    """Most clips at once: a step adds up the gradients of its parts. Halved wherever memory runs out, set or not."""
    patience: int | None = Field(None, ge=1)
    """A trial ends after so many epochs without a better score by `search.metric`."""
    size: int = Field(112, ge=16)
    """Height and width in pixels of what a model sees."""
    trainable: Literal["all", "head"] | Annotated[int, Field(ge=1)] = "all"
    """What trains: all, the head alone, or the head and so many of the backbone's last stages."""
    unfreeze_every: int | None = Field(None, ge=1)
    """Epochs after which one more stage trains, the last first (gradual unfreezing, arXiv 1801.06146)."""
    backbone_lr: float = Field(1.0, gt=0)
    """The backbone's learning rate as a multiple of the head's, which is `space.lr`."""
    frozen_statistics: bool = False
    """Batch norm keeps the statistics of the weights it starts from: right for batches of few clips."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decoupled weight decay; norms and biases have none."""
    warmup_epochs: float = Field(1.0, ge=0)
    """Epochs of linear warm-up before the cosine."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a label spread over all classes."""
    clip_norm: float | None = Field(1.0, gt=0)
    """Largest norm of a step's gradient; `null` for no limit."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay a step of the weights' moving average, such as 0.99, which then is what is validated, kept and tested."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 where the GPU or CPU has it, else fp16 on a GPU, else fp32."""
    compile: bool = False
    """Train the model compiled by `torch.compile`, which takes minutes (and on a CPU a C++ compiler) before the first
    step; a trial whose model can't be compiled ends as an error."""
    checkpoint_activations: bool = False
    """Keep only each stage's input and compute the rest again on the way back: less memory, about a third slower."""
    stride: int = Field(1, ge=1)
    """Stored frames from one to the next where the selection is dense."""
    min_span: float = Field(1.0, gt=0, le=1)
    """Smallest part of a clip's time that training frames cover where the selection is uniform; less plays slower."""
    min_scale: float = Field(0.5, gt=0, le=1)
    """Smallest part of a frame's square that a training crop shows."""
    flip: bool = True
    """Mirror half of the training clips; switch off where left and right are different classes."""
    randaugment: int = Field(0, ge=0, le=30)
    """Magnitude of RandAugment's two operations a clip (arXiv 1909.13719); 0 for none."""
    colour: float = Field(0.0, ge=0, le=1)
    """Brightness, contrast and saturation change by up to this share, the hue by up to a quarter of it; 0 for none."""
    erasing: float = Field(0.0, ge=0, le=1)
    """Share of the training clips in which a box is painted grey (arXiv 1708.04896)."""
    mixup: float = Field(0.0, ge=0)
    """Alpha of mixup (arXiv 1710.09412), such as 0.2: a batch's clips fade into each other; 0 for none."""
    cutmix: float = Field(0.0, ge=0)
    """Alpha of CutMix (arXiv 1905.04899): a box of each clip shows another; with mixup, each has half the batches."""
    loader_workers: int | None = Field(None, ge=0)
    """Loader processes a training worker; default: 0 on a CPU, else its CPUs less one."""
    seed: int = Field(0, ge=0)
    """Seed of weights, draws, augmentation and dropout."""

    @property
    def at_once(self) -> int:
        """Most clips that a model is given at once."""
        return self.batch_size if self.micro_batch is None else self.micro_batch

    @model_validator(mode="after")
    def _warm_up_ends(self) -> TrainConfig:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) must be below epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _each_has_an_effect(self) -> TrainConfig:
        for name in ("patience", "unfreeze_every"):
            if (getattr(self, name) or 0) >= self.epochs:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) has no effect on trials of {self.epochs} epochs: lower it or "
                    "leave it out"
                )
        if (self.micro_batch or 0) >= self.batch_size:
            raise ValueError(
                f"micro_batch ({self.micro_batch}) has no effect on batches of {self.batch_size}: lower it or leave "
                "it out"
            )
        for name in ("mixup", "cutmix"):
            if getattr(self, name) and self.batch_size == 1:
                raise ValueError(f"{name} has no effect on batches of one clip: raise batch_size or leave it out")
        return self

    @model_validator(mode="after")
    def _something_is_left_to_set(self) -> TrainConfig:
        if self.trainable == "all" and self.unfreeze_every is not None:
            raise ValueError(
                "unfreeze_every has no effect where all trains from the start: set trainable to head or to a number "
                "of stages, or leave it out"
            )
        if self.trainable == "head" and self.unfreeze_every is None:
            usual = TrainConfig.model_fields
            for name in ("backbone_lr", "frozen_statistics", "checkpoint_activations"):
                if getattr(self, name) != usual[name].default:
                    raise ValueError(
                        f"{name} has no effect where the head alone trains: set trainable to all or to a number of "
                        "stages, set unfreeze_every, or leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _can_be_compiled(self) -> TrainConfig:
        for name in ("checkpoint_activations", "unfreeze_every"):
            if self.compile and getattr(self, name):
                raise ValueError(f"compile does not go with {name}: leave one of them out")
        return self


class TestConfig(_Settings):
    """How the champion is tested."""

    __test__ = False  # Not a test case, whatever pytest thinks of its name.

    views: int = Field(1, ge=1)
    """With more than one view of each clip, the mean over them is reported beside the single view."""


class ResourcesConfig(_Settings):
    """What a trial takes of the machine or cluster."""

    workers: int = Field(1, ge=1)
    """Training workers of a trial; several share out each epoch and average their gradients."""
    cpus: float | None = Field(None, gt=0)
    """CPUs a worker; default: 1 without GPU, else its share of the CPUs that stand beside the GPUs, at most 8."""
    gpus: float | None = Field(None, ge=0)
    """GPUs a worker, also a fraction; default: 1 where there are GPUs, else 0."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at once; default: as many as fit. Say it where an autoscaler is to start nodes for them."""

    @model_validator(mode="after")
    def _whole_above_one(self) -> ResourcesConfig:
        for name in ("cpus", "gpus"):
            value = getattr(self, name)
            if value is not None and value > 1 and value != int(value):
                raise ValueError(f"{name} is {value:g}: above 1 Ray takes whole numbers only")
        return self


class TrackingConfig(_Settings):
    """Where MLflow keeps runs."""

    uri: str | None = None
    """Tracking server or database; default: MLFLOW_TRACKING_URI, else SQLite under `runs_dir`."""
    experiment: str = Field("workout-clips", min_length=1)
    """MLflow experiment."""
    model_name: str = Field("workout-clips", min_length=1, pattern=r"^[^/:]+$")
    """Registered model whose alias `champion` moves to the sweep's champion."""


class SweepConfig(_Settings):
    """All settings of one sweep."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
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
    models: dict[str, dict[str, Any]] = {}
    """For each architecture its options and `weights` (`imagenet`, `none` or a file)."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a trial takes."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow."""

    def weights(self, arch: str) -> str:
        """Weights that trials of this architecture start from."""
        return str(self.models.get(arch, {}).get("weights", "none"))

    def options(self, arch: str) -> dict[str, Any]:
        """The architecture's own options as set."""
        return {key: value for key, value in self.models.get(arch, {}).items() if key != "weights"}

    def train_with(self, choice: Mapping[str, Any]) -> TrainConfig:
        """How a trial with this choice trains.

        Args:
            choice: a value for each axis; those of `space.train` and a finalist's `seed` are taken from it.

        Raises:
            ValidationError: the values don't go together.
        """
        own = {axis.removeprefix(TRAIN_AXIS): value for axis, value in choice.items() if axis.startswith(TRAIN_AXIS)}
        own |= {"seed": choice["seed"]} if "seed" in choice else {}
        return TrainConfig.model_validate({**self.train.model_dump(), **own}, strict=True)

    def trainings(self) -> list[TrainConfig]:
        """All ways that its trials train, apart from what the other axes decide."""
        names = [f"{TRAIN_AXIS}{name}" for name in self.space.train]
        return [
            self.train_with(dict(zip(names, values, strict=True)))
            for values in itertools.product(*self.space.train.values())
        ]

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        _check_train_axes(self)
        _check_architectures(self)
        _check_frame_counts(self)
        for train in self.trainings():
            _check_selection(self, train)
            _check_fine_tuning(self, train)
        _check_frozen_statistics(self)
        _check_search(self)
        _check_balance(self)
        return self


class TrialConfig(_Settings):
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

    @classmethod
    def choose(cls, sweep: SweepConfig, choice: dict[str, Any]) -> TrialConfig:
        """The sweep's settings with one choice: a value for each axis of the space, and for a finalist its `seed`."""
        arch = choice["arch"]
        return cls(
            arch=arch,
            options=sweep.options(arch),
            weights=sweep.weights(arch),
            sampler=choice["sampler"],
            loss=choice["loss"],
            lr=choice["lr"],
            num_frames=choice["num_frames"],
            selection=choice["selection"],
            train=sweep.train_with(choice),
            metric=sweep.search.metric,
        )

    def frame_selection(self) -> FrameSelection:
        """Which of a clip's stored frames the model sees."""
        if self.selection == "dense":
            return FrameSelection(self.num_frames, "dense", stride=self.train.stride)
        return FrameSelection(self.num_frames, self.selection, min_span=self.train.min_span)


_NO_AXES = {
    "epochs": "the scheduler and the leaderboard compare trials of as many epochs",
    "seed": "a lucky seed would win: search.finalists tries the best again with other seeds",
}


def _check_train_axes(sweep: SweepConfig) -> None:
    settings = TrainConfig.model_fields
    for name in sweep.space.train:
        if name not in settings:
            near = _nearest(name, list(settings), prefix=["space", "train"])
            raise ValueError(f"unknown setting 'space.train.{name}'{near}")
        if name in _NO_AXES:
            raise ValueError(f"space.train.{name} can't be tried: {_NO_AXES[name]}")
        value = getattr(sweep.train, name)
        if value != settings[name].default and value not in sweep.space.train[name]:
            raise ValueError(
                f"train.{name}={_spelled(value)} has no effect where space.train.{name} tries other values: add it to "
                "them, or leave it out"
            )
    for values in itertools.product(*sweep.space.train.values()):
        choice = dict(zip(sweep.space.train, values, strict=True))
        try:
            sweep.train_with({f"{TRAIN_AXIS}{name}": value for name, value in choice.items()})
        except ValidationError as error:
            with_these = ", ".join(f"{name}={_spelled(value)}" for name, value in choice.items())
            raise ValueError(f"space.train has {with_these}: {_first_fault(error)}") from None
    for name, kind, other in (("stride", "dense", "uniform"), ("min_span", "uniform", "dense")):
        if name in sweep.space.train and other in sweep.space.selection:
            raise ValueError(
                f"space.train.{name} has no effect on {other} frames, of which each trial would be there several "
                f"times: set space.selection={kind}"
            )


def _check_architectures(sweep: SweepConfig) -> None:
    for name in [*sweep.space.arch, *sweep.models]:
        try:
            architecture(name)
            parse_options(name, sweep.options(name))
            check_weights(name, sweep.weights(name))
        except ModelError as error:
            raise ValueError(str(error)) from None


def _check_frame_counts(sweep: SweepConfig) -> None:
    sizes = {train.size for train in sweep.trainings()}
    for arch, num_frames, size in itertools.product(sweep.space.arch, sweep.space.num_frames, sorted(sizes)):
        try:
            check_input(arch, sweep.options(arch), num_frames, size)
        except ModelError as error:
            raise ValueError(str(error)) from None
        if num_frames > sweep.store.frames:
            raise ValueError(
                f"space.num_frames {num_frames} is more than the {sweep.store.frames} frames that the store keeps "
                f"of a clip: set store.frames={num_frames}"
            )


def _check_selection(sweep: SweepConfig, train: TrainConfig) -> None:
    space = sweep.space
    if "uniform" not in space.selection and train.min_span != 1:
        raise ValueError("train.min_span has no effect on dense frames: leave it out, or add uniform to selection")
    if "dense" not in space.selection:
        if train.stride != 1:
            raise ValueError("train.stride has no effect on uniform frames: leave it out, or add dense to selection")
        return
    span = max(FrameSelection(frames, "dense", train.stride).span for frames in space.num_frames)
    if span > sweep.store.frames:
        raise ValueError(
            f"{max(space.num_frames)} dense frames at train.stride={train.stride} span {span} stored frames, but the "
            f"store keeps {sweep.store.frames} of a clip: set store.frames={span}, or lower one of them"
        )


def _check_fine_tuning(sweep: SweepConfig, train: TrainConfig) -> None:
    for arch in sweep.space.arch:
        stages = len(architecture(arch).stages)
        if isinstance(train.trainable, int) and train.trainable > stages:
            raise ValueError(f"train.trainable is {train.trainable}, but {arch}'s backbone has {stages} stages")
        if train.trainable == stages and train.unfreeze_every is not None:
            raise ValueError(f"train.unfreeze_every has no effect on {arch}, all of whose {stages} stages train")
        for name in ("trainable", "frozen_statistics"):
            if sweep.weights(arch) == "none" and getattr(train, name) != TrainConfig.model_fields[name].default:
                raise ValueError(
                    f"train.{name}={_spelled(getattr(train, name))} would keep what {arch} has of its random start: "
                    f"set models.{arch}.weights, or leave one of them out"
                )


def _check_frozen_statistics(sweep: SweepConfig) -> None:
    if not any(train.frozen_statistics for train in sweep.trainings()):
        return
    without = [arch for arch in sweep.space.arch if not _has_batch_norm(sweep, arch)]
    if without and (len(without) == len(sweep.space.arch) or "frozen_statistics" in sweep.space.train):
        raise ValueError(f"train.frozen_statistics has no effect on {', '.join(without)}, which has no batch norm")


def _spelled(value: Any) -> str:
    """As it is written in YAML."""
    return json.dumps(value).strip('"')


def _has_batch_norm(sweep: SweepConfig, arch: str) -> bool:
    sizes = {"num_frames": sweep.space.num_frames[0], "size": sweep.trainings()[0].size}
    with torch.device("meta"):
        model = build_model(arch, sweep.options(arch), num_classes=2, **sizes)
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def corrected_twice(sampler: str, loss: str) -> bool:
    """Whether both the sampler and the loss favour rare classes: what each of them does could not be told apart."""
    return sampler != "imbalanced" and loss == "weighted"


def _check_balance(sweep: SweepConfig) -> None:
    space = sweep.space
    pairs = list(itertools.product(space.sampler, space.loss))
    twice = [f"{sampler} with {loss} loss" for sampler, loss in pairs if corrected_twice(sampler, loss)]
    if not twice and space.balanced_and_weighted != "refuse":
        raise ValueError("space.balanced_and_weighted has no effect: no trial has both; leave it out")
    if twice and space.balanced_and_weighted == "refuse":
        raise ValueError(
            f"the space has {', '.join(twice)}, which corrects the imbalance twice: rare classes then count by the "
            "square of their rarity, and neither remedy's effect can be told; set space.balanced_and_weighted to "
            "leave-out (try all but these) or try"
        )
    if len(twice) == len(pairs) and space.balanced_and_weighted == "leave-out":
        raise ValueError(f"leaving out {', '.join(twice)} leaves no trial: add imbalanced to sampler or plain to loss")
    if space.balanced_and_weighted == "leave-out" and sweep.search.algorithm != "grid":
        raise ValueError(
            f"space.balanced_and_weighted=leave-out works on a grid, not with search.algorithm="
            f"{sweep.search.algorithm}: list one loss or one sampler, or set it to try"
        )


def _check_search(sweep: SweepConfig) -> None:
    search = sweep.search
    if search.algorithm == "grid":
        if search.trials is not None:
            raise ValueError("search.trials has no effect on a grid: leave it out, or set search.algorithm=random")
        if isinstance(sweep.space.lr, LogRange):
            raise ValueError("space.lr is a range, which a grid can't try: list values, or set search.algorithm=random")
    elif search.trials is None:
        raise ValueError(f"search.algorithm={search.algorithm} needs search.trials, the number of trials")
    if search.asha is not None and search.asha.grace_epochs > sweep.train.epochs:
        raise ValueError(
            f"search.asha.grace_epochs ({search.asha.grace_epochs}) is more than train.epochs "
            f"({sweep.train.epochs}): no trial could be stopped; lower it or set search.asha=null"
        )
    if sweep.data.val + sweep.data.test >= 1:
        raise ValueError(f"data.val + data.test is {sweep.data.val + sweep.data.test:g}: nothing is left to train on")


def load_config(
    file: Path, overrides: Sequence[str] = (), texts: Mapping[str, str] = MappingProxyType({})
) -> SweepConfig:
    """A YAML file with overrides on top.

    Args:
        file: the YAML file.
        overrides: `KEY=VALUE`, where VALUE is YAML (`train.epochs=3`, `space.arch=[c3d]`).
        texts: settings by their dotted key that are taken as text as they are, whatever they look like.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (the nearest valid one is named) or a bad value.
    """
    if not file.is_file():
        raise ConfigError(f"no config file {str(file)!r}: configs/ holds ready ones")
    for override in overrides:
        if not re.match(r"^[A-Za-z_][\w.]*=", override):
            raise ConfigError(f"{override!r} is not an override: write KEY=VALUE, such as train.epochs=3")
    try:
        merged = OmegaConf.load(file)
        for override in overrides:
            key = override.split("=", 1)[0]
            # Replaced, not merged: a range may take the place of a list.
            OmegaConf.update(merged, key, OmegaConf.select(OmegaConf.from_dotlist([override]), key), merge=False)
        for key, text in texts.items():
            OmegaConf.update(merged, key, text)
        plain = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} with its overrides can't be read: {_one_line(str(error))}") from None
    return parse_config(plain)


def parse_config(plain: Any) -> SweepConfig:
    """A sweep's settings from plain values (dicts, lists, strings, numbers).

    Raises:
        ConfigError: as for `load_config`.
    """
    try:
        # As JSON in strict mode a list may stand for a tuple, but "3" never for 3, nor 2.5 for 2.
        return SweepConfig.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_fault(error)) from None
    except TypeError as error:
        raise ConfigError(f"the config holds a value that is no plain YAML: {error}") from None


def save_config(config: SweepConfig, file: Path) -> None:
    """Write all settings, defaults included, as YAML that `load_config` reads back."""
    file.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def absolute_paths(config: SweepConfig) -> SweepConfig:
    """Relative paths resolved against the current directory: workers have another one."""
    data, store = config.data, config.store
    updates = {
        "runs_dir": _absolute(config.runs_dir),
        "data": data.model_copy(
            update={
                "dir": _absolute(data.dir) if data.dir else "",
                "split": _absolute(data.split) if data.split else None,
                "groups": _absolute(data.groups) if data.groups not in (None, AUTO_GROUPS) else data.groups,
            }
        ),
        "store": store.model_copy(
            update={
                "dir": store.dir if "://" in store.dir else _absolute(store.dir),
                "local": _absolute(store.local) if store.local else None,
            }
        ),
        "models": {
            arch: settings
            if config.weights(arch) in ("none", *ARCHITECTURES[arch].weights)
            else {**settings, "weights": _absolute(config.weights(arch))}
            for arch, settings in config.models.items()
        },
    }
    return config.model_copy(update=updates)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def refuse_unused(data: DataConfig) -> None:
    """Refuse settings that were given and that others make void.

    Raises:
        ConfigError: such a setting; says which.
    """
    given = data.model_fields_set
    if data.split is not None:
        void = sorted(given & {"groups", "folds", "val", "test", "seed", "few_groups"})
        if void:
            names = ", ".join(f"data.{name}" for name in void)
            raise ConfigError(f"{names} has no effect on an existing data.split: leave one of them out")
    if data.folds and "val" in given:
        raise ConfigError("data.val has no effect with data.folds, each of which is validated on: leave it out")


def unused_models(config: SweepConfig) -> list[str]:
    """Architectures that have options set but are not in the space."""
    return [name for name in config.models if name not in config.space.arch]


def _first_fault(error: ValidationError) -> str:
    """Pydantic lists every fault over several lines; the first with its mend is what a person acts on."""
    faults = error.errors(include_url=False)
    # Of the faults that each branch of a union finds, these say most.
    telling = {"extra_forbidden": 0, "value_error": 1, "greater_than_equal": 2}
    fault = min(faults, key=lambda fault: telling.get(fault["type"], len(telling)))
    place = [str(part) for part in fault["loc"] if not _is_union_branch(part)]
    key = ".".join(place)
    if fault["type"] == "extra_forbidden":
        return f"unknown setting {key!r}{_nearest(place[-1], _fields_at(place[:-1]), prefix=place[:-1])}"
    if fault["type"] == "value_error":
        return (f"{key}: " if key else "") + str(fault["ctx"]["error"])
    text = f"{key} is {fault['input']!r}: {_one_line(fault['msg'])}"
    if fault["type"] == "literal_error":
        valid = re.findall(r"'([^']+)'", fault["ctx"]["expected"])
        text += _nearest(str(fault["input"]), valid, prefix=[])
    return text


def _is_union_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("LogRange", "constrained-int"))


def _fields_at(place: Sequence[str]) -> list[str]:
    model: type[BaseModel] = SweepConfig
    for name in place:
        annotation = model.model_fields[name].annotation
        inner = [a for a in (annotation, *getattr(annotation, "__args__", ())) if isinstance(a, type)]
        model = next(a for a in inner if issubclass(a, BaseModel))
    return list(model.model_fields)


def _nearest(word: str, valid: Sequence[str], prefix: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {'.'.join([*prefix, near[0]])!r}?"
    return f"; there are {', '.join(valid)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
