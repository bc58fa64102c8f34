"""Section `train`: how a trial trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tuning.config.schema.base import Settings


class TrainConfig(Settings):
    """How each trial trains. Every setting but `epochs` and `seed` can be an axis under `space.train`."""

    epochs: int = Field(20, ge=1)
    """Epochs of a trial that is not stopped early."""
    batch_size: int = Field(16, ge=1)
    """Clips per optimizer step and worker."""
    micro_batch: int | None = Field(None, ge=1)
    """Clips per forward pass; a step accumulates the gradients of several. It is halved whenever memory runs out, set
    or not. `null`: the whole batch."""
    patience: int | None = Field(None, ge=1)
    """Stop a trial after this many epochs without a better score by `search.metric`. `null`: never."""
    size: int = Field(112, ge=16)
    """Height and width in pixels of the model's input."""
    trainable: Literal["all", "head"] | Annotated[int, Field(ge=1)] = "all"
    """Which part trains: `all`, the `head` alone with a frozen backbone, or, as a number K, the head and the last K
    stages of the backbone."""
    unfreeze_every: int | None = Field(None, ge=1)
    """Unfreeze one more stage every this many epochs, the last stage first (gradual unfreezing, arXiv 1801.06146).
    `null`: what is frozen stays frozen."""
    stored_views: int | None = Field(None, ge=1)
    """Compute the features of a frozen backbone once, before the trials, for this many augmented views of each clip and
    one view for validation. Each epoch draws one of them per training clip. All trials share the features, also those
    of later sweeps. Only with `trainable: head`. `null`: compute them in each epoch, with new augmentation."""
    backbone_lr: float = Field(1.0, gt=0)
    """Learning rate of the backbone as a multiple of the head's, which is `space.lr`."""
    frozen_statistics: bool = False
    """Batch norm keeps the running statistics of the pretrained weights. Useful where batches have few clips."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of AdamW. Norm layers and biases have none."""
    warmup_epochs: float = Field(1.0, ge=0)
    """Epochs of linear warm-up before the learning rate follows a cosine to zero. If it is not set, it is at most
    half of `epochs`."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target probability that is spread evenly over all classes."""
    clip_norm: float | None = Field(1.0, gt=0)
    """Largest norm of the gradient of a step. `null`: no clipping."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay per step of an exponential moving average of the weights, such as 0.99. The averaged weights are validated,
    saved and tested. `null`: no average."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Floating-point precision. `auto`: bf16 if the GPU or CPU supports it, else fp16 on a GPU, else fp32."""
    compile: bool = False
    """Compile the model with `torch.compile`. Compilation takes minutes before the first step and needs a C++ compiler
    on a CPU. A trial whose model can't be compiled ends with an error."""
    checkpoint_activations: bool = False
    """Store only each stage's input and recompute the rest in the backward pass: less memory, about a third slower."""
    stride: int = Field(1, ge=1)
    """Distance between stored frames of a `dense` selection."""
    min_span: float = Field(1.0, gt=0, le=1)
    """Smallest share of a clip's duration that a `uniform` selection covers in training. Below 1 clips also play
    slower."""
    min_scale: float = Field(0.5, gt=0, le=1)
    """Smallest area of a random training crop, as a share of the frame's largest square."""
    flip: bool = True
    """Mirror half of the training clips. Switch it off where left and right are different classes."""
    randaugment: int = Field(0, ge=0, le=30)
    """Magnitude of RandAugment with two operations per clip (arXiv 1909.13719). `0`: off."""
    colour: float = Field(0.0, ge=0, le=1)
    """Largest random change of brightness, contrast and saturation; the hue changes by up to a quarter of it. `0`:
    off."""
    erasing: float = Field(0.0, ge=0, le=1)
    """Probability that a random box of a training clip is painted grey (random erasing, arXiv 1708.04896). `0`: off."""
    mixup: float = Field(0.0, ge=0)
    """Alpha of mixup, which blends pairs of clips (arXiv 1710.09412), such as 0.2. `0`: off."""
    cutmix: float = Field(0.0, ge=0)
    """Alpha of CutMix, which pastes a box of one clip into another (arXiv 1905.04899). With `mixup` each takes half of
    the batches. `0`: off."""
    loader_workers: int | None = Field(None, ge=0)
    """Data loader processes per training worker. `null`: 0 on a CPU, else one less than the worker's CPUs."""
    seed: int = Field(0, ge=0)
    """Seed of initial weights, sampling, augmentation and dropout."""

    @property
    def max_micro_batch(self) -> int:
        """Largest number of clips in a forward pass."""
        return self.batch_size if self.micro_batch is None else self.micro_batch

    @model_validator(mode="after")
    def _warm_up_ends(self) -> TrainConfig:
        given = "warmup_epochs" in self.model_fields_set
        if given and self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) must be below epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _limits_have_an_effect(self) -> TrainConfig:
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
    def _freezing_has_an_effect(self) -> TrainConfig:
        if self.trainable == "all" and self.unfreeze_every is not None:
            raise ValueError(
                "unfreeze_every has no effect if everything trains from the start: set trainable to head or to a "
                "number of stages, or leave it out"
            )
        if self.trainable == "head" and self.unfreeze_every is None:
            for name in ("backbone_lr", "frozen_statistics", "checkpoint_activations"):
                if getattr(self, name) != TrainConfig.model_fields[name].default:
                    raise ValueError(
                        f"{name} has no effect if only the head trains: set trainable to all or to a number of "
                        "stages, set unfreeze_every, or leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _features_can_be_stored(self) -> TrainConfig:
        if self.stored_views is None:
            return self
        if self.trainable != "head" or self.unfreeze_every is not None:
            raise ValueError(
                "stored_views needs a backbone that stays frozen: set trainable to head and leave unfreeze_every out"
            )
        for name in ("mixup", "cutmix"):
            if getattr(self, name):
                raise ValueError(f"{name} mixes frames, which stored_views doesn't keep: leave one of them out")
        return self

    @model_validator(mode="after")
    def _can_be_compiled(self) -> TrainConfig:
        for name in ("checkpoint_activations", "unfreeze_every"):
            if self.compile and getattr(self, name):
                raise ValueError(f"compile does not work with {name}: leave one of them out")
        return self
