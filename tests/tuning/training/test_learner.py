"""Learning rates, the moving average of weights, and resuming from a checkpoint."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from data.loading.augment import Augment, AugmentSettings
from data.loading.loaders import Batch
from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES, build_model
from tests.helpers.checkpoints import MANIFEST, PREDICTIONS, TRIAL
from tuning.config.schema.train import TrainConfig
from tuning.training.checkpoint import load_models, load_training, save_checkpoint
from tuning.training.epoch import train_one_epoch
from tuning.training.learner import Learner, build_learner

CPU = torch.device("cpu")
STAGES = ARCHITECTURES["c3d"].stages
OPTIONS = {"width": 2, "batch_norm": True, "head": "pool"}
EPOCHS = 3


def small_c3d() -> torch.nn.Module:
    torch.manual_seed(3)
    return build_model("c3d", OPTIONS, num_classes=2, num_frames=8, size=48)


def learner_of(model: torch.nn.Module, train: TrainConfig, lr: float = 0.01, steps: int = 2) -> Learner:
    return build_learner(model, lr, train, stages=STAGES, steps_per_epoch=steps, device=CPU, precision="fp32")


def train_config(**settings: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": EPOCHS, "warmup_epochs": 1.0, "size": 48, **settings}, strict=True)


def train_epoch(learner: Learner, number: int) -> None:
    """Train two steps on random clips, which depend on the number of the epoch."""
    generator = torch.Generator().manual_seed(number)
    frames = torch.randint(0, 256, (4, 8, 3, 48, 48), generator=generator, dtype=torch.uint8)
    batches = [Batch(frames[part], torch.arange(2), ["a", "b"]) for part in (slice(0, 2), slice(2, 4))]
    augment = Augment(Normalise((0.5,) * 3, (0.25,) * 3), 2, AugmentSettings(colour=0.3, erasing=0.5, mixup=0.4))
    torch.manual_seed(number)
    train_one_epoch(learner, augment, batches, epoch=number, seed=number, micro_batch=2)


def same(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    "settings", [{}, {"ema": 0.9}, {"trainable": "head", "unfreeze_every": 1, "backbone_lr": 0.5, "ema": 0.5}], ids=str
)
def test_resumed_training_ends_like_uninterrupted_training(settings: dict[str, object], tmp_path: Path) -> None:
    train = train_config(**settings)
    uninterrupted = learner_of(small_c3d(), train)
    for number in range(1, EPOCHS + 1):
        train_epoch(uninterrupted, number)
        if number == 2:
            trial = TRIAL.model_copy(update={"train": train, "options": OPTIONS})
            manifest = MANIFEST.model_copy(update={"trial": trial})
            save_checkpoint(tmp_path, manifest, [uninterrupted.eval_model], [uninterrupted.state()], PREDICTIONS)
    resumed = learner_of(load_models(tmp_path)[0][0], train)
    resumed.load_state(load_training(tmp_path)[0])
    train_epoch(resumed, EPOCHS)
    assert same(resumed.model, uninterrupted.model)
    assert same(resumed.eval_model, uninterrupted.eval_model)
    assert resumed.schedule.get_last_lr() == uninterrupted.schedule.get_last_lr()


def test_resuming_with_other_settings_keeps_moments_and_schedule_position_only() -> None:
    first = learner_of(small_c3d(), train_config(weight_decay=0.1))
    for number in (1, 2):
        train_epoch(first, number)
    train = train_config(weight_decay=0.3, backbone_lr=0.5, label_smoothing=0.1)
    resumed = learner_of(small_c3d(), train, lr=0.04)
    resumed.load_state(first.state())
    rates = first.schedule.get_last_lr()
    assert resumed.schedule.last_epoch == first.schedule.last_epoch == 4
    assert resumed.schedule.get_last_lr() == [group["lr"] for group in resumed.optimizer.param_groups]
    assert resumed.schedule.get_last_lr() == pytest.approx([rates[0] * 4, rates[1] * 4, rates[2] * 2, rates[3] * 2])
    assert {group["weight_decay"] for group in resumed.optimizer.param_groups} == {0.3, 0.0}
    moments = [
        [state["exp_avg"] for state in learner.optimizer.state_dict()["state"].values()] for learner in (first, resumed)
    ]
    assert moments[0]
    assert all(torch.equal(old, new) for old, new in zip(*moments, strict=True))
    train_epoch(resumed, EPOCHS)
    assert resumed.schedule.get_last_lr()[0] == pytest.approx(0.0, abs=1e-9)


def test_eval_model_is_the_moving_average_of_the_weights() -> None:
    learner = learner_of(small_c3d(), train_config(ema=0.6))
    assert learner.ema is not None
    weight, expected = learner.model.head[3].weight, 0.0
    for step in range(5):
        with torch.no_grad():
            weight.fill_(float(step))
        learner.ema.update(learner.model)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step if step else 0.0
        averaged = learner.eval_model.get_submodule("head.3").weight
        torch.testing.assert_close(averaged, torch.full_like(averaged, expected))
        assert torch.equal(weight, torch.full_like(weight, float(step))), "averaging changed the trained weights"


def test_moving_average_includes_batch_norm_statistics() -> None:
    learner = learner_of(small_c3d(), train_config(ema=0.9))
    for number in (1, 2):
        train_epoch(learner, number)
    assert not same(learner.model, learner.eval_model)
    averaged, current = (
        dict(model.named_buffers())["features.0.1.running_mean"] for model in (learner.eval_model, learner.model)
    )
    assert not torch.equal(averaged, current)
    assert bool(averaged.any())


def test_without_moving_average_the_eval_model_is_the_trained_model() -> None:
    learner = learner_of(small_c3d(), train_config())
    assert learner.eval_model is learner.model
    assert learner.state().weights is None


def test_learning_rate_warms_up_and_then_falls_to_zero() -> None:
    learner = learner_of(small_c3d(), train_config(epochs=4, backbone_lr=0.25), lr=0.1, steps=5)
    rates = []
    for _ in range(20):
        rates.append(learner.schedule.get_last_lr())
        learner.optimizer.step()
        learner.schedule.step()
    assert all(rate[-1] == pytest.approx(rate[0] / 4) for rate in rates)
    head = [rate[0] for rate in rates]
    assert head[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert all(later <= earlier for earlier, later in itertools.pairwise(head[4:]))
    assert learner.schedule.get_last_lr()[0] == pytest.approx(0.0, abs=1e-9)
    assert head[12] == pytest.approx(0.05 * (1 + math.cos(math.pi * 7 / 15)))
