"""The settings of a sweep, section by section, each with what can be refused of it alone."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tuning.config.redact import VARIABLE, without_secrets
from tuning.errors import TuningError


class ConfigError(TuningError):
    """A setting that can't be used."""


class Settings(BaseModel):
    """Some settings: typed, unchangeable, none unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


T = TypeVar("T")


def _listed(value: Any) -> Any:
    # A tuple, since past this function strict mode no longer takes a list for one.
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Listed = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""A list; one value alone stands for a list of one, so that `space.arch=c3d` does what it says."""


RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Of what is a folder's name as well."""
_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
_MODEL_NAME = r"^[^/:\\'\"`\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
"""What MLflow takes, less what would end a quoted name in its searches."""

AUTO_GROUPS = "auto"
"""In place of a file of groups: find them."""


class DataConfig(Settings):
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


class StoreConfig(Settings):
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
        if self.in_bucket and self.local is None:
            raise ValueError(f"dir is {self.dir!r}, a bucket, of which each node keeps copies: set store.local")
        return self

    @property
    def in_bucket(self) -> bool:
        """Whether the frames lie in a bucket, not in a folder."""
        return "://" in self.dir

    def open(self, settings: DecodeSettings | None = None) -> FrameStore:
        """The store of these settings, or of those that a checkpoint names."""
        root = self.dir if self.in_bucket else Path(self.dir)
        return FrameStore(root, settings or self.decode_settings(), Path(self.local) if self.local else None)

    def decode_settings(self) -> DecodeSettings:
        """The part of these settings that decides pixels."""
        return DecodeSettings(frames=self.frames, short_side=self.short_side)


class LogRange(Settings):
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

    def drawn(self, rng: random.Random) -> float:
        """A value at random."""
        return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))


AXES = ("arch", "weights", "sampler", "loss", "lr", "num_frames", "selection")
"""What a trial of any sweep has one value of."""

TRAIN_AXIS, MODEL_AXIS = "train.", "model."
"""What the names of a sweep's further axes begin with: settings of `train`, and options of architectures."""

LearningRates = Listed[Annotated[float, Field(gt=0)]] | LogRange
FrameCounts = Listed[Annotated[int, Field(ge=1)]]


class OwnSpaceConfig(Settings):
    """What is tried of one architecture in place of what all others try."""

    weights: Listed[str] | None = None
    """Weights to start from; default: those of `models.ARCH.weights`."""
    lr: LearningRates | None = None
    """Peak learning rates; default: those of `space`."""
    num_frames: FrameCounts | None = None
    """Frame counts; default: those of `space`."""
    train: dict[str, Listed[Any]] = {}
    """Settings of `train`, beside or in place of those in `space.train`."""
    options: dict[str, Listed[Any]] = {}
    """Options of the architecture, such as `{temporal: [average, lstm]}`."""


class SpaceConfig(Settings):
    """What is tried: one trial is one choice of each."""

    arch: Listed[str] = ("resnet18", "c3d")
    """Architectures by name."""
    sampler: Listed[Literal["imbalanced", "sqrt", "balanced"]] = ("imbalanced", "balanced")
    """Which clips an epoch draws: each once, or classes equally often, or `sqrt` between them."""
    loss: Listed[Literal["plain", "weighted"]] = ("plain",)
    """`weighted`: a clip's loss counts by one over its class's clips."""
    balanced_and_weighted: Literal["refuse", "leave-out", "try"] = "refuse"
    """What to do with trials that would correct the imbalance twice, by their sampler and by their loss."""
    lr: LearningRates = (1e-3, 1e-4)
    """Peak learning rates, or `{low: …, high: …}` for random and Optuna search."""
    num_frames: FrameCounts = (8, 16)
    """Frames of a clip that a model sees."""
    selection: Listed[Literal["uniform", "dense"]] = ("uniform",)
    """`uniform`: frames over the whole clip; `dense`: frames that follow each other, `train.stride` apart."""
    train: dict[str, Listed[Any]] = {}
    """Settings of `train` of which several values are tried, such as `{mixup: [0, 0.2], trainable: [all, head]}`."""

    by_arch: dict[str, Listed[OwnSpaceConfig]] = {}
    """For some architectures a space of their own, or a list of such, each of which is tried: for instance weights
    none at one learning rate, and pretrained weights at others with fewer stages trained."""

    @model_validator(mode="after")
    def _an_architecture_is_tried(self) -> SpaceConfig:
        if not self.arch:
            raise ValueError("arch has no value to try")
        if len(set(self.arch)) < len(self.arch):
            raise ValueError("arch names a value twice")
        return self


class AshaConfig(Settings):
    """Asynchronous successive halving (arXiv 1810.05934): stop the trials that fall behind."""

    grace_epochs: int = Field(2, ge=1)
    """Epochs that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """One of so many trials goes on at each rung."""


class FinalistsConfig(Settings):
    """After the search: the best choices trained anew, so that a lucky seed is not crowned."""

    top: int = Field(3, ge=1)
    """So many of the best choices by the search."""
    seeds: int = Field(3, ge=2)
    """Trials of each, with seeds that the search has not used; the mean over them decides."""


class SearchConfig(Settings):
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

    @model_validator(mode="before")
    @classmethod
    def _ignore_pbt(cls, values: Any) -> Any:
        """Drop `pbt: null`, which the config.yaml of runs made before population-based training was removed holds."""
        if isinstance(values, dict) and "pbt" in values and values["pbt"] is None:
            return {key: value for key, value in values.items() if key != "pbt"}
        return values

    @property
    def finalist_seeds(self) -> int | None:
        """Trials of each finalist, if there are finalists."""
        return self.finalists.seeds if self.finalists else None


class TrainConfig(Settings):
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


class TestConfig(Settings):
    """How the champion is tested."""

    __test__ = False  # Not a test case, whatever pytest thinks of its name.

    views: int = Field(1, ge=1)
    """Views of each clip in time. Of more than one view or crop the mean over all is reported beside the single one."""
    crops: Literal[1, 3] = 1
    """Squares of each frame: 1 for the centre, 3 for the centre and both ends of the longer side."""
    max_risk: float = Field(0.1, ge=0, le=1)
    """The champion abstains from clips so that at most this share of its answers is wrong, as far as the validation
    clips can tell. Scores of the test count all clips; the report says what abstaining would come to."""


class ResourcesConfig(Settings):
    """What a trial takes of the machine or cluster."""

    workers: int = Field(1, ge=1)
    """Training workers of a trial; several share out each epoch and average their gradients."""
    cpus: float | None = Field(None, gt=0)
    """CPUs a worker; default: 1 without GPU, else its share of the CPUs that stand beside the GPUs, at most 8."""
    gpus: float | None = Field(None, ge=0)
    """GPUs a worker, also a fraction; default: where there are GPUs, what the largest model was measured to need of the
    smallest one (1, or 1/2 to 1/4), else 0."""
    memory: float | None = Field(None, gt=0)
    """GB (10⁹ bytes) of main memory a worker; default: what the largest model was measured to need, and a tenth."""
    measure: bool = True
    """Train a few steps of each architecture before a sweep, to know what trials need and how long they take; without,
    a trial has a whole GPU, asks for no memory, and no time is foretold."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at once; default: as many as fit. Say it where an autoscaler is to start nodes for them."""
    reuse_workers: bool = True
    """Train the next trial in the processes of the one before it, which saves several seconds per trial. This relies on
    internals of the pinned Ray release. With `false` the sweep uses Ray's public API alone and gives the same
    leaderboard, but trials start more slowly and the cluster needs Ray's dashboard (`ray[default]`,
    `--include-dashboard=true`): without it a trial that is stopped early never frees its CPUs and GPUs."""

    @model_validator(mode="after")
    def _one_worker_a_gpu(self) -> ResourcesConfig:
        if self.workers > 1 and self.gpus is not None and 0 < self.gpus < 1:
            raise ValueError(
                f"gpus is {self.gpus:g} and workers is {self.workers}: NCCL refuses two workers of a trial on one GPU; "
                "give each a whole one (gpus=1), or set workers to 1"
            )
        return self

    @model_validator(mode="after")
    def _whole_above_one(self) -> ResourcesConfig:
        for name in ("cpus", "gpus"):
            value = getattr(self, name)
            if value is not None and value > 1 and value != int(value):
                raise ValueError(f"{name} is {value:g}: above 1 Ray takes whole numbers only")
        return self


class TrackingConfig(Settings):
    """Where MLflow keeps runs."""

    uri: str | None = None
    """Tracking server or database; default: MLFLOW_TRACKING_URI, else SQLite under `runs_dir`."""
    experiment: str = Field("workout-clips", min_length=1, max_length=200, pattern=_ONE_LINE)
    """MLflow experiment."""
    model_name: str = Field("workout-clips", min_length=1, max_length=200, pattern=_MODEL_NAME)
    """Registered model whose alias `champion` moves to the sweep's champion as `promote` says."""
    promote: Literal["better", "always", "never"] = "better"
    """Which tested champion becomes the registered model's: one `better` than the present one on the same test split,
    `always`, or `never`; the others are kept under the alias `candidate`."""
    system_metrics: bool = True
    """Whether the sweep's run shows, each half minute, what the sweep's own machine has to do."""
    patience: float = Field(120.0, ge=0)
    """Seconds that a sweep waits, once its trials have ended, for a server that is away; trials never wait."""

    @model_validator(mode="after")
    def _no_password(self) -> TrackingConfig:
        if self.uri is not None and without_secrets(self.uri) != self.uri:
            raise ValueError(
                "uri holds a password or token, and settings are kept in the run's folder: give the address in the "
                f"environment as {VARIABLE}, or the login there as MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return self


def corrected_twice(sampler: str, loss: str) -> bool:
    """Whether both the sampler and the loss favour rare classes: what each of them does could not be told apart."""
    return sampler != "imbalanced" and loss == "weighted"
