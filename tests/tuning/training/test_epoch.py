"""One epoch of training, and prediction."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from data.loading.loaders import Batch
from data.loading.transforms import Normalise
from tests.helpers.colour_clips import CPU, NORMALISE, TRAIN, MeanColour, colour_batches, learner_of, run_epoch
from tuning.training.epoch import DivergenceError, predict, to_device, train_one_epoch
from tuning.training.timing import Stopwatch


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns_the_colour(precision: str) -> None:
    learner = learner_of(MeanColour(), TRAIN.model_copy(update={"epochs": 100}), precision=precision)
    losses = [run_epoch(learner).loss for _ in range(5)]
    assert losses[-1] < 0.2 * losses[0]
    assert run_epoch(learner).correct == 10


def test_totals_are_sums_over_clips_and_not_means_over_batches() -> None:
    model = MeanColour()
    totals = run_epoch(learner_of(model, lr=0.0))
    with torch.no_grad():
        losses = [
            float(nn.functional.cross_entropy(model(NORMALISE(batch.frames)), batch.label, reduction="sum"))
            for batch in colour_batches()
        ]
    assert totals.clips == 10
    assert totals.loss == pytest.approx(sum(losses), rel=1e-5)


def test_infinite_loss_raises() -> None:
    model = MeanColour()
    nn.init.constant_(model.head.weight, math.inf)
    with pytest.raises(DivergenceError, match="the training loss became"):
        run_epoch(learner_of(model))


@pytest.mark.parametrize(("check_loss_every", "steps"), [(1, 1), (2, 2), (4, 4), (None, 1)])
def test_nan_loss_raises_at_the_next_check_or_at_the_end(check_loss_every: int | None, steps: int) -> None:
    """The loss is NaN from the second of four batches on. On a CPU every step is checked by default."""
    learner, taken = learner_of(MeanColour()), []
    learner.optimizer.register_step_post_hook(
        lambda *_: taken.append(nn.init.constant_(learner.model.head.weight, math.nan))
    )
    with pytest.raises(DivergenceError, match="the training loss became nan"):
        run_epoch(learner, colour_batches((4,) * 4), check_loss_every=check_loss_every)
    assert len(taken) == steps


class CountSyncs(TorchDispatchMode):
    """Count the operations that return a tensor's values to Python: on a GPU each would be a sync."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "masked_select", "equal")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("check_loss_every", "expected"), [(50, 0), (1, 8)])
def test_training_steps_sync_only_to_check_the_loss(check_loss_every: int, expected: int) -> None:
    def augment(frames: torch.Tensor, label: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        return NORMALISE(frames), torch.eye(2)[: len(label) // 2].repeat(2, 1)  # `one_hot` syncs, but only on CPUs.

    train = TRAIN.model_copy(update={"ema": 0.9, "label_smoothing": 0.1})
    counts = []
    for steps in (4, 12):
        learner = learner_of(MeanColour(), train, precision="bf16", class_weights=torch.ones(2))
        batches = colour_batches((4,) * steps)
        with CountSyncs() as syncs:
            train_one_epoch(
                learner, augment, batches, epoch=1, seed=0, micro_batch=2, check_loss_every=check_loss_every
            )
        counts.append(syncs.count)
    assert counts[1] - counts[0] == expected
    assert counts[0] > 0


def test_predict_does_not_sync() -> None:
    with CountSyncs() as syncs:
        predict(MeanColour(), NORMALISE, colour_batches(), device=CPU, precision="fp32")
    assert syncs.count == 0


def test_clip_norm_limits_the_norm_of_all_gradients() -> None:
    norms: list[float] = []
    model = MeanColour()
    model.head.weight.register_hook(lambda gradient: 1e6 * gradient)
    for limit in (0.5, None):
        learner = learner_of(model, TRAIN.model_copy(update={"clip_norm": limit}))
        learner.optimizer.register_step_pre_hook(
            lambda *_: norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters())))
        )
        run_epoch(learner, colour_batches()[:1])
    assert norms[0] == pytest.approx(0.5, rel=1e-3)
    assert norms[1] > 100


def test_predict_keeps_the_order_of_clips_and_the_weights() -> None:
    model = MeanColour().train()
    before = model.head.weight.clone()
    found = predict(model, Normalise((0.5,) * 3, (0.5,) * 3), colour_batches(), device=CPU, precision="fp32")
    assert found.clip_ids == [clip for batch in colour_batches() for clip in batch.clip_id]
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert found.logits.shape == (10, 2)
    assert found.logits.dtype == torch.float32
    assert torch.equal(model.head.weight, before)


def test_predict_without_clips_returns_no_predictions() -> None:
    found = predict(MeanColour(), nn.Identity(), [], device=CPU, precision="fp32")
    assert found.clip_ids == []
    assert len(found.labels) == len(found.logits) == 0


class Branching(MeanColour):
    """Depends on the values of its input, which a compiled graph cannot."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return super().forward(frames if frames.sum() > 0 else -frames)


def test_model_that_cannot_be_compiled_as_a_whole_raises() -> None:
    learner = learner_of(Branching(), TRAIN.model_copy(update={"compile": True}))
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        run_epoch(learner)


def test_compiled_model_trains_like_the_plain_one() -> None:
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        learner = learner_of(MeanColour(), TRAIN.model_copy(update={"compile": compiled}))
        results.append((run_epoch(learner).loss, learner.model.state_dict()["head.weight"]))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-4)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-4, rtol=0)


def test_copies_to_the_device_can_be_timed_apart_from_training() -> None:
    watch = Stopwatch()

    def slow_copy(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(0.02)
        return to_device(batch, device)

    with watch.phase("train"):
        assert run_epoch(learner_of(MeanColour()), move=watch.wrap("copy", slow_copy)).clips == 10
    assert watch.collect()["seconds_copy"] >= 3 * 0.02
