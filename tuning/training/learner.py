"""A model that is trained, with all that changes with it from step to step."""

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
    """What training one model needs beside the weights that a checkpoint is used for; plain values and tensors."""

    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    weights: dict[str, Any] | None = None
    """Those that training goes on from, where the checkpoint's own are their average."""
    averaged: int = 0
    """Steps in that average."""


class WeightEMA:
    """A model's weights and statistics, averaged exponentially over its steps.

    It forgets faster at first: short trials would else keep their first weights. After n steps the decay is at most
    (1 + n) / (10 + n), as `tf.train.ExponentialMovingAverage` has it. `torch.optim.swa_utils.AveragedModel` does the
    same, but moves n to the device and back at every step, for which a GPU stands still.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module, self.decay = copy.deepcopy(model), decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model as it is after a step."""
        average, current = (
            [tensor.detach() for tensor in itertools.chain(each.parameters(), each.buffers())]
            for each in (self.module, model)
        )
        if self.steps == 0:
            for averaged, value in zip(average, current, strict=True):
                averaged.copy_(value)
        else:
            self._move(average, current)
        self.steps += 1

    def _move(self, average: list[torch.Tensor], current: list[torch.Tensor]) -> None:
        move = get_ema_multi_avg_fn(min(self.decay, (1 + self.steps) / (10 + self.steps)))
        for kind in (True, False):
            chosen = [place for place, value in enumerate(current) if value.is_floating_point() is kind]
            if chosen:
                move([average[place] for place in chosen], [current[place] for place in chosen], self.steps)


@dataclass
class Learner:
    """A model in training."""

    model: nn.Module
    stages: tuple[str, ...]
    """Prefixes of its backbone's parameters, from the input on, with their final dot."""
    train: TrainConfig
    device: torch.device
    precision: str
    """`fp32`, `bf16` or `fp16`."""
    class_weights: torch.Tensor | None
    """How much a clip of each class counts, float32 `(K,)` on the device; None for all alike."""
    forward: Callable[[torch.Tensor], torch.Tensor]
    """The model, or the model compiled; to train with."""
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    """Of fp16's loss; disabled otherwise."""
    ema: WeightEMA | None
    """The weights' moving average, if there is to be one."""

    @property
    def eval_model(self) -> nn.Module:
        """What is validated, kept and tested: the averaged weights, or else those that are trained."""
        return self.model if self.ema is None else self.ema.module

    def state(self) -> TrainingState:
        """All that goes into a checkpoint beside the result's weights."""
        return TrainingState(
            self.optimizer.state_dict(),
            self.schedule.state_dict(),
            self.scaler.state_dict(),
            weights=None if self.ema is None else self.model.state_dict(),
            averaged=0 if self.ema is None else self.ema.steps,
        )

    def load_state(self, state: TrainingState) -> None:
        """Go on from a checkpoint, of whose weights this learner was built.

        The gradients' moments and the place in the schedule are the checkpoint's; learning rates and weight decay are
        this learner's own, which differ from the checkpoint's where another trial has left it.
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
    """A learner at its first step, of a model that is on its device; `lr` is the head's peak learning rate."""
    to_channels_last(model)
    # Before the stages are changed: a copy of one would compute with the weights of the stage it was copied from.
    ema = None if train.ema is None else WeightEMA(model, train.ema)
    if train.checkpoint_activations:
        checkpoint_stages(model, stages)
    # Fused: one pass over the weights, several times faster on a CPU too; AdamW is arXiv 1711.05101.
    optimizer = torch.optim.AdamW(parameter_groups(model, stages, train, lr), fused=True)
    return Learner(
        model=model,
        stages=stages,
        train=train,
        device=device,
        precision=precision,
        class_weights=None if class_weights is None else class_weights.to(device),
        # Whole or not at all: a graph with breaks would be slow without a word.
        forward=torch.compile(model, fullgraph=True) if train.compile else model,
        optimizer=optimizer,
        schedule=LambdaLR(optimizer, _warm_up_and_cosine(train, steps_per_epoch)),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        ema=ema,
    )


def _warm_up_and_cosine(train: TrainConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate's part of its peak, by step: linear to 1, then half a cosine to 0 (arXiv 1608.03983)."""
    total = train.epochs * steps_per_epoch
    warm = round(train.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        done = (step - warm) / max(1, total - warm)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    return factor


def to_channels_last(model: nn.Module) -> None:
    """The memory layout that convolutions in half precision are fastest in."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.dim() in layouts:
            parameter.data = parameter.data.contiguous(memory_format=layouts[parameter.dim()])
