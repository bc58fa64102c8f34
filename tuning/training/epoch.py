"""One epoch of training, and prediction, in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from data.loading.loaders import Batch
from data.loading.sampling import derived_seed
from tuning.training.backward import BatchResult, backward_batch
from tuning.training.distributed import all_ranks, average_over_ranks
from tuning.training.freezing import freeze_for_epoch
from tuning.training.learner import Learner
from tuning.training.precision import autocast
from tuning.training.predictions import Predictions
from tuning.training.prefetch import prefetch_to_device

_STEPS_BETWEEN_CHECKS = 50


class DivergenceError(Exception):
    """The training loss is not finite, so the weights are not either."""


@dataclass(frozen=True, slots=True)
class EpochTotals:
    """Sums over an epoch's clips. Add those of all ranks before dividing by the number of clips."""

    loss: float
    correct: int
    """Number of correct clips; a mixed clip counts as the class with the largest share."""
    clips: int
    micro_batch: int
    """Largest number of clips per forward pass; below the requested number if memory ran out."""


def to_device(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Copy frames and labels to the device, asynchronously if they are in pinned memory."""
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
    """Take one optimizer step per batch.

    Args:
        learner: the model to train.
        augment: from frames, labels and a seed to the model's input and targets, such as an `Augment`.
        batches: the epoch's batches; the same number on each rank.
        epoch: number of the epoch from 1; decides which stages are frozen.
        seed: seed of this rank's augmentation in this epoch.
        micro_batch: largest number of clips per forward pass.
        check_loss_every: check that the loss is finite every N steps (forces a GPU sync); default: 1 on a CPU, else 50.
        move: copies a batch to the device; `to_device`, or a wrapper that measures its time.

    Raises:
        DivergenceError: the loss is not finite, detected at the next check or at the end of the epoch.
        torch.OutOfMemoryError: a single clip does not fit into memory.
    """
    device = learner.device
    check_loss_every = check_loss_every or (1 if device.type == "cpu" else _STEPS_BETWEEN_CHECKS)
    freeze_for_epoch(learner.model, learner.stages, learner.train, epoch)
    totals = _RunningTotals(device)

    def prepare(numbered: tuple[int, Batch]) -> tuple[torch.Tensor, torch.Tensor]:
        number, batch = numbered
        return augment(*move(batch, device), derived_seed(seed, number))

    for (number, _), (inputs, targets) in prefetch_to_device(enumerate(batches), prepare, device):
        result, micro_batch = backward_batch(learner, inputs, targets, micro_batch)
        totals.add(result, len(inputs))
        if number % check_loss_every == 0:
            totals.finite_loss()
        learner.step()
    _average_buffers(learner)
    return EpochTotals(totals.finite_loss(), int(totals.correct), totals.clips, micro_batch)


class _RunningTotals:
    """Sums on the device, so that adding a batch needs no GPU sync."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.clips = 0

    def add(self, result: BatchResult, clips: int) -> None:
        self.loss += result.loss.double() * clips
        self.correct += result.correct
        self.clips += clips

    def finite_loss(self) -> float:
        """Return the sum of the losses (forces a GPU sync), or raise DivergenceError on all ranks.

        Once a loss is not finite, the sum never is again.
        """
        value = float(self.loss)
        if not all_ranks(math.isfinite(value)):
            raise DivergenceError(f"the training loss became {value}")
        return value


def _average_buffers(learner: Learner) -> None:
    """Average batch norm's statistics over the ranks, since each rank has seen other clips."""
    for model in [learner.model] if learner.ema is None else [learner.model, learner.ema.module]:
        average_over_ranks([buffer for buffer in model.buffers() if buffer.is_floating_point()])


@torch.inference_mode()
def predict(
    model: nn.Module, normalise: nn.Module, batches: Iterable[Batch], *, device: torch.device, precision: str
) -> Predictions:
    """Return the model's logits for each clip, in the order of the batches."""
    model.eval()
    ids: list[str] = []
    labels: list[torch.Tensor] = []
    logits: list[torch.Tensor] = []

    def prepare(batch: Batch) -> tuple[torch.Tensor]:
        return (normalise(to_device(batch, device)[0]),)

    for batch, (inputs,) in prefetch_to_device(batches, prepare, device):
        with autocast(precision, device):
            logits.append(model(inputs).float())
        labels.append(batch.label)
        ids += batch.clip_id
    if not ids:
        return Predictions([], torch.empty(0, dtype=torch.int64), torch.empty(0, 0))
    # One copy at the end: a copy per batch would make the GPU wait for the host each time.
    return Predictions(ids, torch.cat(labels), torch.cat(logits).cpu())
