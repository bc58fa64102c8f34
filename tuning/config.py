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

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from data.decode import DecodeSettings
from models.errors import ModelError
from models.registry import ARCHITECTURES, architecture, check_input, check_weights, parse_options
from tuning.errors import TuningError


class ConfigError(TuningError):
    """A setting that can't be used."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


T = TypeVar("T")


def _listed(value: Any) -> Any:
    # A tuple, since past this function strict mode no longer takes a list for one.
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Listed = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""A list; one value alone stands for a list of one, so that `space.arch=c3d` does what it says."""


class DataConfig(_Settings):
    """The labelled clips and how they are split."""

    dir: str = ""
    """Folder of clips, one sub-folder a class (or `--data`)."""
    split: str | None = None
    """A split CSV to use as it is; default: a new split is made."""
    groups: str | None = None
    """`FILE.csv[:COLUMN]`: clips of one group (one source video) never stand in two splits."""
    val: float = Field(0.15, gt=0, lt=1)
    """Share of each class's clips for validation."""
    test: float = Field(0.15, gt=0, lt=1)
    """Share of each class's clips for the test."""
    seed: int = Field(0, ge=0)
    """Which of the many possible splits."""
    few_groups: Literal["refuse", "leave-out", "train"] = "refuse"
    """What to do with a class that has too few groups to stand in all three splits."""
    max_failed: float = Field(0.01, ge=0, lt=1)
    """Go on without clips that can't be decoded up to this share of all clips."""


class StoreConfig(_Settings):
    """The frame store that all trials read."""

    dir: str = "frame_store"
    """Where decoded frames lie; on a cluster a folder that all nodes mount."""
    frames: int = Field(32, ge=1, le=1024)
    """Frames kept of each clip: no trial can see more."""
    short_side: int = Field(128, ge=16, le=2160)
    """Short side of a kept frame in pixels."""
    workers: int | None = Field(None, ge=1)
    """Decoding processes; default: one a core."""
    seconds_per_clip: float = Field(300.0, gt=0)
    """Time limit to decode one clip."""

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


class SpaceConfig(_Settings):
    """What is tried: one trial is one choice of each."""

    arch: Listed[str] = ("resnet18", "c3d")
    """Architectures by name."""
    sampler: Listed[Literal["imbalanced", "balanced"]] = ("imbalanced", "balanced")
    """Which clips an epoch draws."""
    lr: Listed[Annotated[float, Field(gt=0)]] | LogRange = (1e-3, 1e-4)
    """Peak learning rates, or `{low: …, high: …}` for random and Optuna search."""
    num_frames: Listed[Annotated[int, Field(ge=1)]] = (8, 16)
    """Frames of a clip that a model sees."""

    @model_validator(mode="after")
    def _no_empty_or_repeated_axis(self) -> SpaceConfig:
        for axis in ("arch", "sampler", "lr", "num_frames"):
            values = getattr(self, axis)
            if isinstance(values, LogRange):
                continue
            if not values:
                raise ValueError(f"{axis} has no value to try")
            if len(set(values)) < len(values):
                raise ValueError(f"{axis} names a value twice")
        return self


class AshaConfig(_Settings):
    """Asynchronous successive halving (arXiv 1810.05934): stop the trials that fall behind."""

    grace_epochs: int = Field(2, ge=1)
    """Epochs that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """One of so many trials goes on at each rung."""


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


class TrainConfig(_Settings):
    """How each trial trains."""

    epochs: int = Field(20, ge=1)
    """Epochs of a trial that is not stopped."""
    batch_size: int = Field(16, ge=1)
    """Clips a step and worker."""
    size: int = Field(112, ge=16)
    """Height and width in pixels of what a model sees."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_epochs: float = Field(1.0, ge=0)
    """Epochs of linear warm-up before the cosine."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a label spread over all classes."""
    clip_norm: float | None = Field(1.0, gt=0)
    """Largest norm of a step's gradient; `null` for no limit."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 where the GPU or CPU has it, else fp16 on a GPU, else fp32."""
    min_scale: float = Field(0.5, gt=0, le=1)
    """Smallest part of a frame's square that a training crop shows."""
    flip: bool = True
    """Mirror half of the training clips; switch off where left and right are different classes."""
    loader_workers: int | None = Field(None, ge=0)
    """Loader processes a training worker; default: 0 on a CPU, else its CPUs less one."""
    seed: int = Field(0, ge=0)
    """Seed of weights, draws, crops and dropout."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> TrainConfig:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) must be below epochs ({self.epochs})")
        return self


class ResourcesConfig(_Settings):
    """What a trial takes of the machine or cluster."""

    workers: int = Field(1, ge=1)
    """Training workers of a trial; more than one trains by DDP."""
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

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        _check_architectures(self)
        _check_frame_counts(self)
        _check_search(self)
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
    lr: float
    """Peak learning rate."""
    num_frames: int
    """Frames of a clip that the model sees."""
    train: TrainConfig
    """How it trains."""
    metric: str
    """What decides between its epochs."""

    @classmethod
    def choose(cls, sweep: SweepConfig, choice: dict[str, Any]) -> TrialConfig:
        """The sweep's settings with one choice (`arch`, `sampler`, `lr`, `num_frames`)."""
        arch = choice["arch"]
        return cls(
            arch=arch,
            options=sweep.options(arch),
            weights=sweep.weights(arch),
            sampler=choice["sampler"],
            lr=choice["lr"],
            num_frames=choice["num_frames"],
            train=sweep.train,
            metric=sweep.search.metric,
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
    for arch, num_frames in itertools.product(sweep.space.arch, sweep.space.num_frames):
        try:
            check_input(arch, sweep.options(arch), num_frames, sweep.train.size)
        except ModelError as error:
            raise ValueError(str(error)) from None
        if num_frames > sweep.store.frames:
            raise ValueError(
                f"space.num_frames {num_frames} is more than the {sweep.store.frames} frames that the store keeps "
                f"of a clip: set store.frames={num_frames}"
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
                "groups": _absolute(data.groups) if data.groups else None,
            }
        ),
        "store": store.model_copy(update={"dir": _absolute(store.dir)}),
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


def unused_models(config: SweepConfig) -> list[str]:
    """Architectures that have options set but are not in the space."""
    return [name for name in config.models if name not in config.space.arch]


def _first_fault(error: ValidationError) -> str:
    """Pydantic lists every fault over several lines; the first with its mend is what a person acts on."""
    faults = error.errors(include_url=False)
    # Of the faults that each branch of a union finds, these say most.
    fault = min(faults, key=lambda fault: {"extra_forbidden": 0, "value_error": 1}.get(fault["type"], 2))
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
    return isinstance(part, str) and ("[" in part or part == "LogRange")


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
