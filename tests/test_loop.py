from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from data.loading import Batch
from data.transforms import Normalise
from tuning.config import TrainConfig
from tuning.loop import Diverged, Sums, build_optimizer, choose_precision, predict, train_one_epoch

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=4, warmup_epochs=1.0, weight_decay=0.0)


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


def run_epoch(model: nn.Module, train: TrainConfig = TRAIN, lr: float = 0.5, precision: str = "fp32") -> Sums:
    optimizer, schedule = build_optimizer(model, lr, train, steps_per_epoch=3)
    return train_one_epoch(
        model,
        Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        batches(),
        optimizer,
        schedule,
        torch.amp.GradScaler("cpu", enabled=False),
        device=CPU,
        precision=precision,
        train=train,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns_what_can_be_learnt(precision: str) -> None:
    torch.manual_seed(0)
    model = MeanColour()
    losses = [run_epoch(model, precision=precision).loss for _ in range(5)]
    assert losses[-1] < 0.2 * losses[0]
    assert run_epoch(model, precision=precision).correct == 10


def test_an_epoch_is_summed_over_clips_not_averaged_over_batches() -> None:
    torch.manual_seed(0)
    model = MeanColour()
    still = TRAIN.model_copy(update={"weight_decay": 0.0})
    sums = run_epoch(model, still, lr=0.0)
    normalise = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with torch.no_grad():
        losses = [
            float(nn.functional.cross_entropy(model(normalise(batch.frames)), batch.label, reduction="sum"))
            for batch in batches()
        ]
    assert sums.clips == 10
    assert sums.loss == pytest.approx(sum(losses), rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_epoch() -> None:
    model = MeanColour()
    nn.init.constant_(model.head.weight, math.inf)
    with pytest.raises(Diverged, match="the training loss became"):
        run_epoch(model)


def test_gradients_are_clipped_to_their_norm() -> None:
    torch.manual_seed(0)
    seen: list[float] = []
    model = MeanColour()
    model.head.weight.register_hook(lambda gradient: 1e6 * gradient)
    optimizer, schedule = build_optimizer(model, 1e-3, TRAIN, 3)
    step = optimizer.step
    optimizer.step = lambda *a, **k: (  # type: ignore[method-assign]
        seen.append(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))),
        step(*a, **k),
    )[1]
    for limit in (0.5, None):
        train = TRAIN.model_copy(update={"clip_norm": limit})
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        normalise = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        train_one_epoch(
            model, normalise, batches()[:1], optimizer, schedule, scaler, device=CPU, precision="fp32", train=train
        )
    assert seen[0] == pytest.approx(0.5, rel=1e-3)
    assert seen[1] > 100


def test_the_learning_rate_warms_up_and_then_falls_to_zero() -> None:
    optimizer, schedule = build_optimizer(MeanColour(), 0.1, TRAIN, steps_per_epoch=5)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[4:]))
    assert schedule.get_last_lr()[0] == pytest.approx(0.0, abs=1e-9)
    assert rates[12] == pytest.approx(0.05 * (1 + math.cos(math.pi * 7 / 15)))


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
