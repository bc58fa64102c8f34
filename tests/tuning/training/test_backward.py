"""Losses, micro-batches, and what happens if memory runs out."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from data.loading.loaders import Batch
from data.loading.sampling import class_weights
from tests.helpers.colour_clips import MeanColour, colour_batches, learner_of, run_epoch
from tuning.training.backward import clip_losses
from tuning.training.epoch import EpochTotals


def test_clip_losses_equal_cross_entropy() -> None:
    logits, label, weights = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1]), torch.tensor([0.5, 2.0, 1.0, 3.0])
    targets = nn.functional.one_hot(label, 4).float()
    expected = nn.functional.cross_entropy(logits, label, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(clip_losses(logits, targets, 0.1, None), expected)
    torch.testing.assert_close(clip_losses(logits, targets, 0.1, weights), expected * weights[label])


def test_loss_of_a_mixed_clip_is_the_weighted_sum_of_its_classes_losses() -> None:
    logits, weights = torch.randn(1, 3), torch.tensor([0.5, 2.0, 1.0])
    parts = [float(clip_losses(logits, torch.eye(3)[[k]], 0.1, weights)) for k in range(3)]
    mixed = clip_losses(logits, torch.tensor([[0.3, 0.7, 0.0]]), 0.1, weights)
    assert float(mixed) == pytest.approx(0.3 * parts[0] + 0.7 * parts[1])


def test_class_weights_balance_the_gradient_of_unequal_classes() -> None:
    """Two of ten clips are of class 1. Weights of 1 / share give both classes the same gradient."""
    label = torch.tensor([0] * 8 + [1] * 2)
    weights = class_weights(label.tolist(), 2)
    frames = torch.zeros(10, 2, 3, 8, 8, dtype=torch.uint8)
    model = MeanColour()
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    batch = Batch(frames, label, [str(i) for i in range(10)])
    totals = run_epoch(learner_of(model, class_weights=weights), [batch], micro_batch=3)
    # All clips look the same, so with equal gradients the bias stays. Without weights it would move towards class 0.
    assert model.head.bias.tolist() == pytest.approx([0, 0], abs=1e-6)
    assert totals.loss == pytest.approx(10 * math.log(2))


class LimitedMemory(MeanColour):
    """Has memory for a limited number of clips, and checks that a failed pass releases its activations."""

    def __init__(self, max_clips: int) -> None:
        super().__init__()
        self.max_clips = max_clips
        self.batch_sizes: list[int] = []
        self.failed: list[weakref.ref[torch.Tensor]] = []

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        assert not any(activation() is not None for activation in self.failed), "a failed pass still holds memory"
        self.batch_sizes.append(len(frames))
        activation = frames * 2
        if len(frames) > self.max_clips:
            self.failed.append(weakref.ref(activation))
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(activation / 2)


def train(max_clips: int, micro_batch: int, batches: Sequence[Batch]) -> tuple[torch.Tensor, EpochTotals, list[int]]:
    """Return the weights after an epoch, its totals, and the sizes of all forward passes."""
    torch.manual_seed(0)
    model = LimitedMemory(max_clips)
    totals = run_epoch(learner_of(model, lr=0.1), batches, micro_batch)
    return model.head.weight.detach(), totals, model.batch_sizes


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_micro_batches_give_the_weights_of_the_full_batch(micro_batch: int) -> None:
    batches = colour_batches((7, 7, 3))
    full, full_totals, _ = train(99, 7, batches)
    weights, totals, sizes = train(99, micro_batch, batches)
    torch.testing.assert_close(weights, full, atol=1e-6, rtol=0)
    assert max(sizes) <= micro_batch
    assert totals.loss == pytest.approx(full_totals.loss, abs=1e-5)
    assert (totals.correct, totals.clips) == (full_totals.correct, full_totals.clips)


def test_micro_batches_have_equal_sizes() -> None:
    assert train(99, 6, colour_batches((8,)))[2] == [4, 4]


def test_out_of_memory_repeats_the_batch_in_halves() -> None:
    batches = colour_batches((8, 8, 3))
    full, _, _ = train(99, 8, batches)
    weights, totals, sizes = train(3, 8, batches)
    torch.testing.assert_close(weights, full, atol=1e-6, rtol=0)
    assert totals.micro_batch == 2
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]


def test_out_of_memory_with_a_single_clip_raises_and_says_what_to_do() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="one clip at a time does not fit.*lower train.size"):
        train(0, 4, colour_batches())
