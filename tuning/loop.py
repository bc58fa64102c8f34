"""One epoch of training or evaluation in plain torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from data.loading import Batch
from tuning.config import TrainConfig


class Diverged(Exception):
    """The training loss is not finite: going on would train on nothing."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What an epoch adds up; divided once, after adding over ranks."""

    loss: float
    correct: int
    clips: int


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's answer to some clips."""

    clip_ids: list[str]
    labels: torch.Tensor
    """int64 `(N,)`."""
    logits: torch.Tensor
    """float32 `(N, K)`, on the CPU."""


def choose_precision(wanted: str, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`; `auto` takes the fastest that this device computes natively."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision for one forward pass."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def build_optimizer(
    model: nn.Module, lr: float, train: TrainConfig, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """AdamW (arXiv 1711.05101), stepped once a batch by linear warm-up and a cosine to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=train.weight_decay)
    total = train.epochs * steps_per_epoch
    warm = round(train.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        done = (step - warm) / max(1, total - warm)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    return optimizer, LambdaLR(optimizer, factor)


def train_one_epoch(
    model: nn.Module,
    normalise: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    scaler: torch.amp.GradScaler,
    *,
    device: torch.device,
    precision: str,
    train: TrainConfig,
) -> Sums:
    """Train on each batch once.

    Raises:
        Diverged: a batch's loss is not finite.
    """
    model.train()
    loss_sum, correct, clips = 0.0, torch.zeros((), dtype=torch.int64, device=device), 0
    for batch in batches:
        frames, label = _to_device(batch, device)
        with autocast(precision, device):
            logits = model(normalise(frames))
            loss = F.cross_entropy(logits.float(), label, label_smoothing=train.label_smoothing)
        value = float(loss.detach())
        if not _finite_on_all_ranks(value, device):
            raise Diverged(f"the training loss became {value}")
        _step(model, loss, optimizer, schedule, scaler, train.clip_norm)
        loss_sum += value * len(label)
        correct += (logits.argmax(1) == label).sum()
        clips += len(label)
    return Sums(loss_sum, int(correct), clips)


def _finite_on_all_ranks(value: float, device: torch.device) -> bool:
    """All ranks must stop at the same step: one that goes on alone waits for the others' gradients for ever."""
    finite = torch.tensor(float(math.isfinite(value)), device=device)
    if dist.is_initialized():
        dist.all_reduce(finite, op=dist.ReduceOp.MIN)
    return bool(finite)


def _step(
    model: nn.Module,
    loss: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    scaler: torch.amp.GradScaler,
    clip_norm: float | None,
) -> None:
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    if clip_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()


@torch.inference_mode()
def predict(
    model: nn.Module, normalise: nn.Module, batches: Iterable[Batch], *, device: torch.device, precision: str
) -> Predictions:
    """The model's logits for each clip, in the order of the batches."""
    model.eval()
    ids: list[str] = []
    labels: list[torch.Tensor] = []
    logits: list[torch.Tensor] = []
    for batch in batches:
        frames, _ = _to_device(batch, device)
        with autocast(precision, device):
            logits.append(model(normalise(frames)).float().cpu())
        labels.append(batch.label)
        ids += batch.clip_id
    if not ids:
        return Predictions([], torch.empty(0, dtype=torch.int64), torch.empty(0, 0))
    return Predictions(ids, torch.cat(labels), torch.cat(logits))


def _to_device(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return batch.frames.to(device, non_blocking=True), batch.label.to(device, non_blocking=True)
