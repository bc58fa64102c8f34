from __future__ import annotations

import math
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from data.loading.augment import Augment, AugmentSettings
from data.loading.loaders import Batch
from data.loading.sampling import class_weights
from data.loading.transforms import Normalise
from tuning.config.schema.train import TrainConfig
from tuning.training.backward import clip_losses
from tuning.training.epoch import DivergenceError, EpochTotals, predict, to_device, train_one_epoch
from tuning.training.learner import Learner, build_learner
from tuning.training.precision import choose_precision
from tuning.training.timing import Stopwatch

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=4, warmup_epochs=1.0, weight_decay=0.0)
NORMALISE = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
AUGMENT = Augment(NORMALISE, 2, AugmentSettings())


class MeanColour(nn.Module):
    """Logits from a clip's mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(frames.mean(dim=(1, 3, 4)))


def batches(sizes: tuple[int, ...] = (4, 4, 2)) -> list[Batch]:
    """Red clips are class 0, blue ones class 1."""
    made = []
    for number, size in enumerate(sizes):
        label = torch.arange(size) % 2
        frames = torch.zeros(size, 2, 3, 8, 8, dtype=torch.uint8)
        frames[label == 0, :, 0] = 200
        frames[label == 1, :, 2] = 200
        made.append(Batch(frames, label, [f"{number}-{i}" for i in range(size)]))
    return made


def learner_of(model: nn.Module, train: TrainConfig = TRAIN, lr: float = 0.5, **settings: Any) -> Learner:
    given = {"stages": (), "steps_per_epoch": 3, "device": CPU, "precision": "fp32", **settings}
    return build_learner(model, lr, train, **given)


def run_epoch(
    learner: Learner, clips: Sequence[Batch] | None = None, micro_batch: int = 4, **settings: Any
) -> EpochTotals:
    return train_one_epoch(learner, AUGMENT, clips or batches(), epoch=1, seed=0, micro_batch=micro_batch, **settings)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns_what_can_be_learnt(precision: str) -> None:
    torch.manual_seed(0)
    learner = learner_of(MeanColour(), TRAIN.model_copy(update={"epochs": 100}), precision=precision)
    losses = [run_epoch(learner).loss for _ in range(5)]
    assert losses[-1] < 0.2 * losses[0]
    assert run_epoch(learner).correct == 10


def test_an_epoch_is_summed_over_clips_not_averaged_over_batches() -> None:
    torch.manual_seed(0)
    model = MeanColour()
    sums = run_epoch(learner_of(model, lr=0.0))
    with torch.no_grad():
        losses = [
            float(nn.functional.cross_entropy(model(NORMALISE(batch.frames)), batch.label, reduction="sum"))
            for batch in batches()
        ]
    assert sums.clips == 10
    assert sums.loss == pytest.approx(sum(losses), rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_epoch() -> None:
    model = MeanColour()
    nn.init.constant_(model.head.weight, math.inf)
    with pytest.raises(DivergenceError, match="the training loss became"):
        run_epoch(learner_of(model))


@pytest.mark.parametrize(("check_loss_every", "steps"), [(1, 1), (2, 2), (4, 4), (None, 1)])
def test_a_loss_that_is_not_finite_is_seen_at_the_next_look_or_at_the_epochs_end(
    check_loss_every: int | None, steps: int
) -> None:
    """From the second of four batches on; by default a CPU looks at each."""
    learner, taken = learner_of(MeanColour()), []
    learner.optimizer.register_step_post_hook(
        lambda *_: taken.append(nn.init.constant_(learner.model.head.weight, math.nan))
    )
    with pytest.raises(DivergenceError, match="the training loss became nan"):
        run_epoch(learner, batches((4,) * 4), check_loss_every=check_loss_every)
    assert len(taken) == steps


class Reads(TorchDispatchMode):
    """Counts the values that Python asks of tensors: at each, a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "masked_select", "equal")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("check_loss_every", "expected"), [(50, 0), (1, 8)])
def test_steps_ask_no_value_of_the_device_but_the_loss_now_and_then(check_loss_every: int, expected: int) -> None:
    def augment(frames: torch.Tensor, label: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        return NORMALISE(frames), torch.eye(2)[: len(label) // 2].repeat(2, 1)  # `one_hot` asks, on CPUs alone.

    train = TRAIN.model_copy(update={"ema": 0.9, "label_smoothing": 0.1})
    counts = []
    for steps in (4, 12):
        learner = learner_of(MeanColour(), train, precision="bf16", class_weights=torch.ones(2))
        with Reads() as reads:
            clips = batches((4,) * steps)
            train_one_epoch(learner, augment, clips, epoch=1, seed=0, micro_batch=2, check_loss_every=check_loss_every)
        counts.append(reads.count)
    assert counts[1] - counts[0] == expected
    assert counts[0] > 0


def test_predictions_ask_no_value_of_the_device() -> None:
    with Reads() as reads:
        predict(MeanColour(), NORMALISE, batches(), device=CPU, precision="fp32")
    assert reads.count == 0


def test_gradients_are_clipped_to_their_norm() -> None:
    torch.manual_seed(0)
    seen: list[float] = []
    model = MeanColour()
    model.head.weight.register_hook(lambda gradient: 1e6 * gradient)
    for limit in (0.5, None):
        learner = learner_of(model, TRAIN.model_copy(update={"clip_norm": limit}))
        learner.optimizer.register_step_pre_hook(
            lambda *_: seen.append(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters())))
        )
        run_epoch(learner, batches()[:1])
    assert seen[0] == pytest.approx(0.5, rel=1e-3)
    assert seen[1] > 100


def test_predictions_keep_the_order_of_the_clips_and_do_not_train() -> None:
    torch.manual_seed(0)
    model = MeanColour().train()
    before = model.head.weight.clone()
    found = predict(model, Normalise((0.5,) * 3, (0.5,) * 3), batches(), device=CPU, precision="fp32")
    assert found.clip_ids == [clip for batch in batches() for clip in batch.clip_id]
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert found.logits.shape == (10, 2)
    assert found.logits.dtype == torch.float32
    assert torch.equal(model.head.weight, before)


def test_no_clips_give_no_predictions() -> None:
    found = predict(MeanColour(), nn.Identity(), [], device=CPU, precision="fp32")
    assert found.clip_ids == []
    assert len(found.labels) == len(found.logits) == 0


def test_precision_is_taken_as_asked_and_auto_is_one_of_them() -> None:
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    flags = Path("/proc/cpuinfo").read_text()
    has_bf16 = "avx512_bf16" in flags or "amx_bf16" in flags
    assert choose_precision("auto", CPU) == ("bf16" if has_bf16 else "fp32")


def test_a_weighted_loss_counts_classes_alike() -> None:
    """Two of ten clips are of class 1: with weights of 1 / share it pulls as hard as the other eight."""
    label = torch.tensor([0] * 8 + [1] * 2)
    weights = class_weights(label.tolist(), 2)
    frames = torch.zeros(10, 2, 3, 8, 8, dtype=torch.uint8)
    model = MeanColour()
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    batch = Batch(frames, label, [str(i) for i in range(10)])
    sums = run_epoch(learner_of(model, class_weights=weights), [batch], micro_batch=3)
    # Nothing tells the clips apart, so an even pull leaves the bias where it was; unweighted it would lean to class 0.
    assert model.head.bias.tolist() == pytest.approx([0, 0], abs=1e-6)
    assert sums.loss == pytest.approx(10 * math.log(2))


def test_each_clip_costs_what_cross_entropy_says() -> None:
    torch.manual_seed(0)
    logits, label, weights = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1]), torch.tensor([0.5, 2.0, 1.0, 3.0])
    target = nn.functional.one_hot(label, 4).float()
    expected = nn.functional.cross_entropy(logits, label, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(clip_losses(logits, target, 0.1, None), expected)
    torch.testing.assert_close(clip_losses(logits, target, 0.1, weights), expected * weights[label])


def test_a_mixed_clip_costs_what_its_parts_cost() -> None:
    torch.manual_seed(0)
    logits, weights = torch.randn(1, 3), torch.tensor([0.5, 2.0, 1.0])
    parts = [float(clip_losses(logits, torch.eye(3)[[k]], 0.1, weights)) for k in range(3)]
    mixed = clip_losses(logits, torch.tensor([[0.3, 0.7, 0.0]]), 0.1, weights)
    assert float(mixed) == pytest.approx(0.3 * parts[0] + 0.7 * parts[1])


class Small(MeanColour):
    """Has memory for so many clips at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.seen: list[int] = []
        self.held: list[weakref.ref[torch.Tensor]] = []

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        assert not any(activation() is not None for activation in self.held), "a failed pass still holds memory"
        self.seen.append(len(frames))
        activation = frames * 2
        if len(frames) > self.room:
            self.held.append(weakref.ref(activation))
            raise torch.OutOfMemoryError("no room")
        return super().forward(activation / 2)


def trained_weights(room: int, micro_batch: int, clips: Sequence[Batch]) -> tuple[torch.Tensor, EpochTotals, list[int]]:
    torch.manual_seed(0)
    model = Small(room)
    sums = run_epoch(learner_of(model, lr=0.1), clips, micro_batch)
    return model.head.weight.detach(), sums, model.seen


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_a_batch_in_parts_is_the_batch_as_a_whole(micro_batch: int) -> None:
    clips = batches((7, 7, 3))
    whole, sums, _ = trained_weights(99, 7, clips)
    parts, sums_of_parts, seen = trained_weights(99, micro_batch, clips)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)
    assert max(seen) <= micro_batch
    assert sums_of_parts.loss == pytest.approx(sums.loss, abs=1e-5)
    assert (sums_of_parts.correct, sums_of_parts.clips) == (sums.correct, sums.clips)


def test_parts_are_of_even_size() -> None:
    assert trained_weights(99, 6, batches((8,)))[2] == [4, 4]


def test_where_memory_runs_out_the_batch_is_done_again_in_smaller_parts() -> None:
    clips = batches((8, 8, 3))
    whole, _, _ = trained_weights(99, 8, clips)
    halved, sums, seen = trained_weights(3, 8, clips)
    torch.testing.assert_close(halved, whole, atol=1e-6, rtol=0)
    assert sums.micro_batch == 2
    assert seen == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]


def test_memory_for_less_than_a_clip_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="one clip at a time does not fit.*lower train.size"):
        trained_weights(0, 4, batches())


class Branching(MeanColour):
    """What it does depends on the values that it sees, which no graph can hold."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return super().forward(frames if frames.sum() > 0 else -frames)


def test_what_cannot_be_compiled_as_a_whole_is_an_error() -> None:
    learner = learner_of(Branching(), TRAIN.model_copy(update={"compile": True}))
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        run_epoch(learner)


def test_a_compiled_model_trains_as_it_does_otherwise() -> None:
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        learner = learner_of(MeanColour(), TRAIN.model_copy(update={"compile": compiled}))
        results.append((run_epoch(learner).loss, learner.model.state_dict()["head.weight"]))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-4)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-4, rtol=0)


def test_the_way_to_the_device_is_timed_apart_from_training() -> None:
    watch = Stopwatch()

    def slow(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(0.02)
        return to_device(batch, device)

    with watch.phase("train"):
        assert run_epoch(learner_of(MeanColour()), move=watch.wrap("copy", slow)).clips == 10
    assert watch.collect()["seconds_copy"] >= 3 * 0.02
