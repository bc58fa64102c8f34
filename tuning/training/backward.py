"""Compute the gradients of a batch, in micro-batches as large as the memory allows."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch

from tuning.training.distributed import all_ranks, average_over_ranks
from tuning.training.learner import Learner
from tuning.training.precision import autocast


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Loss and hits of a batch on this rank, still on the device."""

    loss: torch.Tensor
    """Mean over the batch, float32 scalar."""
    correct: torch.Tensor
    """Number of clips whose predicted class is the largest part of their target, int64 scalar."""


def backward_batch(
    learner: Learner, inputs: torch.Tensor, targets: torch.Tensor, micro_batch: int
) -> tuple[BatchResult, int]:
    """Compute the gradients of the mean loss over the batches of all ranks.

    If memory runs out on any rank, all ranks repeat the batch with half the micro-batch.

    Args:
        learner: its parameters receive the gradients.
        inputs: float32 `(B, T, 3, H, W)` on the device.
        targets: float32 `(B, K)`, the share of each class in each clip.
        micro_batch: largest number of clips per forward pass.

    Returns:
        The result of this rank's batch, and the micro-batch that fitted.

    Raises:
        torch.OutOfMemoryError: a single clip does not fit into memory.
    """
    while (result := _try_backward(learner, inputs, targets, micro_batch)) is None:
        micro_batch = _half(min(micro_batch, len(inputs)))
    return result, micro_batch


def _try_backward(
    learner: Learner, inputs: torch.Tensor, targets: torch.Tensor, micro_batch: int
) -> BatchResult | None:
    """Compute the gradients; return None if memory ran out on any rank.

    Gradients are averaged after all ranks have theirs, and not during the backward pass as DDP does: a rank that ran
    out of memory in the middle would leave the others waiting forever.
    """
    result = None
    with suppress(torch.OutOfMemoryError):
        result = _accumulate_gradients(learner, inputs, targets, micro_batch)
    if all_ranks(result is not None):
        average_over_ranks([p.grad for p in learner.model.parameters() if p.grad is not None])
        return result
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _accumulate_gradients(
    learner: Learner, inputs: torch.Tensor, targets: torch.Tensor, micro_batch: int
) -> BatchResult:
    learner.optimizer.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), device=inputs.device)
    correct = torch.zeros((), dtype=torch.int64, device=inputs.device)
    # Micro-batches of equal size: batch norm could not normalise a last one of a single clip.
    count = -(-len(inputs) // micro_batch)
    for part, wanted in zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True):
        with autocast(learner.precision, learner.device):
            logits = learner.forward(part).float()
        losses = clip_losses(logits, wanted, learner.train.label_smoothing, learner.class_weights)
        loss = losses.sum() / len(inputs)
        learner.scaler.scale(loss).backward()
        loss_sum += loss.detach()
        correct += (logits.argmax(1) == wanted.argmax(1)).sum()
    return BatchResult(loss_sum, correct)


def clip_losses(
    logits: torch.Tensor, targets: torch.Tensor, label_smoothing: float, class_weights: torch.Tensor | None
) -> torch.Tensor:
    """Return the cross-entropy of each clip, `(B,)`.

    Unlike `torch.nn.functional.cross_entropy`, the weight of a mixed clip follows from the shares of its classes.

    Args:
        logits: float32 `(B, K)`.
        targets: float32 `(B, K)`, the share of each class in each clip.
        label_smoothing: share of the target that is spread over all classes.
        class_weights: float32 `(K,)`; None for equal weights.
    """
    log_probability = logits.log_softmax(1)
    by_class = (label_smoothing - 1) * log_probability - label_smoothing * log_probability.mean(1, keepdim=True)
    return ((targets if class_weights is None else targets * class_weights) * by_class).sum(1)


def _half(clips: int) -> int:
    if clips == 1:
        raise torch.OutOfMemoryError(
            "one clip at a time does not fit into memory: lower train.size or the frame count, or set "
            "train.checkpoint_activations"
        )
    return -(-clips // 2)
