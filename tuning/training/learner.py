"""A model in training with its optimizer, learning rate schedule and moving average."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tuning.config.schema.train import TrainConfig
from tuning.training.activation_checkpointing import checkpoint_stages
from tuning.training.freezing import parameter_groups


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a checkpoint needs besides its weights to resume training; plain values and tensors only."""

    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    weights: dict[str, Any] | None = None
    """The trained weights, if the checkpoint's weights are their moving average."""
    averaged: int = 0
    """Number of steps in the moving average."""


class WeightEMA:
    """Exponential moving average of a model's weights and buffers.

    After n steps the decay is at most (1 + n) / (10 + n), as in `tf.train.ExponentialMovingAverage`: short trials would
    otherwise keep their initial weights. `torch.optim.swa_utils.AveragedModel` does the same, but copies n between host
    and device at every step, which makes a GPU wait.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module, self.decay = copy.deepcopy(model), decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the model's current weights and buffers to the average."""
        average, current = (
            [tensor.detach() for tensor in itertools.chain(each.parameters(), each.buffers())]
            for each in (self.module, model)
        )
        if self.steps == 0:
            for averaged, value in zip(average, current, strict=True):
                averaged.copy_(value)
        else:
            self._average(average, current)
        self.steps += 1

    def _average(self, average: list[torch.Tensor], current: list[torch.Tensor]) -> None:
        update = get_ema_multi_avg_fn(min(self.decay, (1 + self.steps) / (10 + self.steps)))
        # The multi-tensor function takes either floating-point tensors or others.
        for floating in (True, False):
            indices = [index for index, value in enumerate(current) if value.is_floating_point() is floating]
            if indices:
                update([average[index] for index in indices], [current[index] for index in indices], self.steps)


@dataclass
class Learner:
    """A model in training."""

    model: nn.Module
    stages: tuple[str, ...]
    """Prefixes of its backbone's parameter names from input to output, each with its final dot."""
    train: TrainConfig
    device: torch.device
    precision: str
    """`fp32`, `bf16` or `fp16`."""
    class_weights: torch.Tensor | None
    """Loss weight of each class, float32 `(K,)` on the device; None for equal weights."""
    forward: Callable[[torch.Tensor], torch.Tensor]
    """The model, compiled if the settings say so; only for training."""
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    """Loss scaling for fp16; disabled in other precisions."""
    ema: WeightEMA | None
    """Moving average of the weights, if the settings ask for one."""

    @property
    def eval_model(self) -> nn.Module:
        """The model to validate, save and test: the moving average, or the trained model if there is none."""
        return self.model if self.ema is None else self.ema.module

    def step(self) -> None:
        """Update the weights from the gradients, clipped if the settings say so, then the schedule and the average."""
        if self.train.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.ema is not None:
            self.ema.update(self.model)

    def state(self) -> TrainingState:
        """Return what a checkpoint needs besides the weights of `eval_model`."""
        return TrainingState(
            self.optimizer.state_dict(),
            self.schedule.state_dict(),
            self.scaler.state_dict(),
            weights=None if self.ema is None else self.model.state_dict(),
            averaged=0 if self.ema is None else self.ema.steps,
        )

    def load_state(self, state: TrainingState) -> None:
        """Resume from a checkpoint, whose weights this learner was built with.

        The optimizer's moments and the position in the schedule come from the checkpoint. Learning rates and weight
        decay stay this learner's own; they differ if the checkpoint is another trial's.
        """
        own, peaks = self.optimizer.state_dict()["param_groups"], self.schedule.base_lrs
        self.optimizer.load_state_dict({**state.optimizer, "param_groups": own})
        self.schedule.load_state_dict({**state.schedule, "base_lrs": peaks})
        step = self.schedule.last_epoch
        rates = [peak * factor(step) for peak, factor in zip(peaks, self.schedule.lr_lambdas, strict=True)]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.schedule._last_lr = rates
        self.scaler.load_state_dict(state.scaler)
        if self.ema is not None:
            assert state.weights is not None
            self.model.load_state_dict(state.weights)
            self.ema.steps = state.averaged


def build_learner(
    model: nn.Module,
    lr: float,
    train: TrainConfig,
    *,
    stages: tuple[str, ...],
    steps_per_epoch: int,
    device: torch.device,
    precision: str,
    class_weights: torch.Tensor | None = None,
) -> Learner:
    """Build a learner at step 0.

    Args:
        model: the model, already on its device; its memory layout is changed.
        lr: peak learning rate of the head.
        train: settings of the optimizer, the schedule and what is trained.
        stages: prefixes of the backbone's parameter names.
        steps_per_epoch: optimizer steps per epoch.
        device: the device of the model.
        precision: `fp32`, `bf16` or `fp16`.
        class_weights: loss weight of each class, float32 `(K,)`.
    """
    to_channels_last(model)
    # Copy the model before its stages are wrapped: a copied wrapper would call the stage that it was copied from.
    ema = None if train.ema is None else WeightEMA(model, train.ema)
    if train.checkpoint_activations:
        checkpoint_stages(model, stages)
    # AdamW: arXiv 1711.05101. The fused version is several times faster, on CPUs too.
    optimizer = torch.optim.AdamW(parameter_groups(model, stages, train, lr), fused=True)
    return Learner(
        model=model,
        stages=stages,
        train=train,
        device=device,
        precision=precision,
        class_weights=None if class_weights is None else class_weights.to(device),
        # With fullgraph, a model that cannot be compiled as a whole raises instead of being silently slow.
        forward=torch.compile(model, fullgraph=True) if train.compile else model,
        optimizer=optimizer,
        schedule=LambdaLR(optimizer, _warmup_cosine(train, steps_per_epoch)),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        ema=ema,
    )


def _warmup_cosine(train: TrainConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the schedule as a factor of the peak: linear warm-up, then half a cosine to 0 (arXiv 1608.03983)."""
    total = train.epochs * steps_per_epoch
    warmup = round(train.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, total - warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    return factor


def to_channels_last(model: nn.Module) -> None:
    """Change the weights to the memory layout in which convolutions in half precision are fastest."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.dim() in layouts:
            parameter.data = parameter.data.contiguous(memory_format=layouts[parameter.dim()])
