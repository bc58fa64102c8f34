"""One epoch of training or evaluation in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from data.loading.loaders import Batch
from data.loading.sampling import derived_seed
from tuning.training.freezing import freeze_for_epoch
from tuning.training.learner import Learner
from tuning.training.precision import autocast
from tuning.training.predictions import Predictions
from tuning.training.prefetch import prefetch_to_device

_STEPS_BETWEEN_LOOKS = 50


class DivergenceError(Exception):
    """The training loss is not finite: going on would train on nothing."""


@dataclass(frozen=True, slots=True)
class EpochTotals:
    """What an epoch adds up; divided once, after adding over ranks."""

    loss: float
    correct: int
    """With clips mixed, by the class that most of a clip is of."""
    clips: int
    micro_batch: int
    """Most clips at once; fewer than was asked for where memory ran out."""


def to_device(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and labels, from pinned memory without waiting for them."""
    return batch.frames.to(device, non_blocking=True), batch.label.to(device, non_blocking=True)


def train_one_epoch(
    learner: Learner,
    augment: Callable[[torch.Tensor, torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]],
    batches: Iterable[Batch],
    *,
    epoch: int,
    seed: int,
    micro_batch: int,
    check_loss_every: int | None = None,
    move: Callable[[Batch, torch.device], tuple[torch.Tensor, torch.Tensor]] = to_device,
) -> EpochTotals:
    """Train on each batch once.

    Args:
        learner: is stepped once a batch.
        augment: clips to what the model takes, as `Augment` does.
        batches: the epoch; as many on each rank.
        epoch: from 1; decides what is frozen.
        seed: of the epoch's augmentation on this rank.
        micro_batch: most clips to compute at once.
        check_loss_every: check that the loss is finite every N steps (forces a GPU sync); default: 1 on a CPU, else 50.
        move: `to_device`, or what also takes its time.

    Raises:
        DivergenceError: a batch's loss is not finite; seen at the next look, at the epoch's end at the latest.
        torch.OutOfMemoryError: the device has no room for a single clip.
    """
    freeze_for_epoch(learner.model, learner.stages, learner.train, epoch)
    device = learner.device
    every = check_loss_every or (1 if device.type == "cpu" else _STEPS_BETWEEN_LOOKS)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    correct, clips = torch.zeros((), dtype=torch.int64, device=device), 0

    def vary(numbered: tuple[int, Batch]) -> tuple[torch.Tensor, torch.Tensor]:
        number, batch = numbered
        return augment(*move(batch, device), derived_seed(seed, number))

    for (number, _), (inputs, target) in prefetch_to_device(enumerate(batches), vary, device):
        while (done := _gradients(learner, inputs, target, micro_batch)) is None:
            micro_batch = _halved(min(micro_batch, len(inputs)))
        loss_sum += done.loss.double() * len(inputs)
        if number % every == 0:
            _finite(loss_sum)
        _step(learner)
        correct += done.correct
        clips += len(inputs)
    _average_statistics(learner)
    return EpochTotals(_finite(loss_sum), int(correct), clips, micro_batch)


def _finite(loss_sum: torch.Tensor) -> float:
    """The sum's value, for which the device is waited for; once a loss was not finite, no sum with it is."""
    value = float(loss_sum)
    if not _on_all_ranks(math.isfinite(value)):
        raise DivergenceError(f"the training loss became {value}")
    return value


@dataclass(frozen=True, slots=True)
class _Done:
    loss: torch.Tensor
    """Mean over the batch."""
    correct: torch.Tensor


def _gradients(learner: Learner, inputs: torch.Tensor, target: torch.Tensor, micro_batch: int) -> _Done | None:
    """Leave the gradients of the mean loss over the batches of all ranks; None if memory ran out on one of them.

    The ranks' gradients are averaged when all have theirs, not on the way as DDP does: a rank that runs out of memory
    in the middle would leave the others waiting for ever.
    """
    done = None
    with suppress(torch.OutOfMemoryError):
        done = _add_gradients(learner, inputs, target, micro_batch)
    if _on_all_ranks(done is not None):
        _average_over_ranks([p.grad for p in learner.model.parameters() if p.grad is not None])
        return done
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _add_gradients(learner: Learner, inputs: torch.Tensor, target: torch.Tensor, micro_batch: int) -> _Done:
    learner.optimizer.zero_grad(set_to_none=True)
    mean, correct = torch.zeros((), device=inputs.device), torch.zeros((), dtype=torch.int64, device=inputs.device)
    # Parts of even size: a last one of a single clip would be nothing for batch norm to go by.
    count = -(-len(inputs) // micro_batch)
    for part, wanted in zip(inputs.tensor_split(count), target.tensor_split(count), strict=True):
        with autocast(learner.precision, learner.device):
            logits = learner.forward(part).float()
        losses = clip_losses(logits, wanted, learner.train.label_smoothing, learner.class_weights)
        loss = losses.sum() / len(inputs)
        learner.scaler.scale(loss).backward()
        mean += loss.detach()
        correct += (logits.argmax(1) == wanted.argmax(1)).sum()
    return _Done(mean, correct)


def clip_losses(
    logits: torch.Tensor, target: torch.Tensor, label_smoothing: float, class_weights: torch.Tensor | None
) -> torch.Tensor:
    """Each clip's cross-entropy `(B,)`, which counts by the weights of the classes that are in it.

    Args:
        logits: float32 `(B, K)`.
        target: float32 `(B, K)`, the part of each class in each clip.
        label_smoothing: share of a label spread over all classes.
        class_weights: float32 `(K,)`.
    """
    log_probability = logits.log_softmax(1)
    by_class = (label_smoothing - 1) * log_probability - label_smoothing * log_probability.mean(1, keepdim=True)
    return ((target if class_weights is None else target * class_weights) * by_class).sum(1)


def _halved(clips: int) -> int:
    if clips == 1:
        raise torch.OutOfMemoryError(
            "one clip at a time does not fit into memory: lower train.size or the frame count, or set "
            "train.checkpoint_activations"
        )
    return -(-clips // 2)


def _on_all_ranks(fact: bool) -> bool:
    """All ranks must stop or try again at the same step: one that goes on alone waits for the others for ever.

    They agree by way of their hosts (gloo), so that no GPU is waited for.
    """
    if not dist.is_initialized():
        return fact
    least = torch.tensor(float(fact))
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    return bool(least)


@torch.no_grad()
def _average_over_ranks(tensors: Sequence[torch.Tensor]) -> None:
    if not tensors or not dist.is_initialized():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def _average_statistics(learner: Learner) -> None:
    """Each rank's batch norm has seen other clips: what all ranks validate and one of them keeps is their mean."""
    for model in [learner.model] if learner.ema is None else [learner.model, learner.ema.module]:
        _average_over_ranks([buffer for buffer in model.buffers() if buffer.is_floating_point()])


def _step(learner: Learner) -> None:
    if learner.train.clip_norm is not None:
        learner.scaler.unscale_(learner.optimizer)
        nn.utils.clip_grad_norm_(learner.model.parameters(), learner.train.clip_norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.schedule.step()
    if learner.ema is not None:
        learner.ema.update(learner.model)


@torch.inference_mode()
def predict(
    model: nn.Module, normalise: nn.Module, batches: Iterable[Batch], *, device: torch.device, precision: str
) -> Predictions:
    """The model's logits for each clip, in the order of the batches."""
    model.eval()
    ids: list[str] = []
    labels: list[torch.Tensor] = []
    logits: list[torch.Tensor] = []

    def normalised(batch: Batch) -> tuple[torch.Tensor]:
        return (normalise(to_device(batch, device)[0]),)

    for batch, (inputs,) in prefetch_to_device(batches, normalised, device):
        with autocast(precision, device):
            logits.append(model(inputs).float())
        labels.append(batch.label)
        ids += batch.clip_id
    if not ids:
        return Predictions([], torch.empty(0, dtype=torch.int64), torch.empty(0, 0))
    # Fetched once: a copy of each batch's would let a GPU stand still before the next.
    return Predictions(ids, torch.cat(labels), torch.cat(logits).cpu())
