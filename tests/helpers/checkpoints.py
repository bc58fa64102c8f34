"""A trial, a manifest, predictions and a checkpoint of an untrained C3D."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.video.decode import DecodeSettings
from models.registry import ARCHITECTURES, build_model
from tuning.config.schema.train import TrainConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.checkpoint import Manifest, save_checkpoint
from tuning.training.learner import Learner, build_learner
from tuning.training.predictions import Predictions

TRIAL = TrialConfig(
    arch="c3d",
    options={"width": 8, "batch_norm": True, "head": "pool"},
    weights="none",
    sampler="balanced",
    loss="plain",
    lr=0.01,
    num_frames=8,
    selection="uniform",
    train=TrainConfig(epochs=3, size=48),
    metric="val_macro_f1",
)
MANIFEST = Manifest(
    trial=TRIAL,
    classes=("dip", "pull Up"),
    split_sha256="ab" * 32,
    decode=DecodeSettings(frames=16, short_side=64),
    folds=1,
    precision="fp32",
    history=({"val_macro_f1": 0.25, "seconds": 0.5}, {"val_macro_f1": 0.5, "seconds": 1.5}),
)
PREDICTIONS = Predictions(
    ["dip/a.mp4", "pull Up/b.mov"], torch.tensor([0, 1]), torch.tensor([[0.5, -1.0], [2.0, 0.25]])
)


def build_model_of_trial() -> torch.nn.Module:
    return build_model("c3d", TRIAL.options, num_classes=2, num_frames=8, size=48)


def learner_of(model: torch.nn.Module) -> Learner:
    stages = ARCHITECTURES["c3d"].stages
    device = torch.device("cpu")
    return build_learner(model, 0.01, TRIAL.train, stages=stages, steps_per_epoch=4, device=device, precision="fp32")


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    """The folder of a checkpoint after one step, and its model."""
    torch.manual_seed(0)
    model = build_model_of_trial()
    learner = learner_of(model)
    model(torch.randn(2, 8, 3, 48, 48)).sum().backward()
    learner.optimizer.step()
    learner.schedule.step()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_checkpoint(folder, MANIFEST, [model], [learner.state()], PREDICTIONS)
    return folder, model
