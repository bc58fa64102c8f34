from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from data.decode import DecodeSettings
from models.registry import ARCHITECTURES, build_model
from tuning.checkpoint import (
    MANIFEST,
    MODEL,
    TRAINING,
    CheckpointError,
    Manifest,
    copy_champion,
    load_model,
    load_models,
    load_training,
    read_manifest,
    save_checkpoint,
)
from tuning.config import TrainConfig, TrialConfig
from tuning.learner import Learner, TrainingState, build_learner

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
MANIFEST_VALUES = Manifest(
    trial=TRIAL,
    classes=("dip", "pull Up"),
    split_sha256="ab" * 32,
    decode=DecodeSettings(frames=16, short_side=64),
    folds=1,
    precision="fp32",
    history=({"val_macro_f1": 0.25, "seconds": 0.5}, {"val_macro_f1": 0.5, "seconds": 1.5}),
)


def small_model() -> torch.nn.Module:
    return build_model("c3d", TRIAL.options, num_classes=2, num_frames=8, size=48)


def learner_of(model: torch.nn.Module) -> Learner:
    stages = ARCHITECTURES["c3d"].stages
    device = torch.device("cpu")
    return build_learner(model, 0.01, TRIAL.train, stages=stages, steps_per_epoch=4, device=device, precision="fp32")


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    model = small_model()
    learner = learner_of(model)
    model(torch.randn(2, 8, 3, 48, 48)).sum().backward()
    learner.optimizer.step()
    learner.schedule.step()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_checkpoint(folder, MANIFEST_VALUES, [model], [learner.state()])
    return folder, model


def test_a_model_is_rebuilt_from_its_folder_alone(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, model = checkpoint
    loaded, manifest = load_model(folder)
    assert not loaded.training
    frames = torch.randn(2, 8, 3, 48, 48)
    torch.testing.assert_close(loaded(frames), model.eval()(frames))
    assert manifest.model_copy(update={"model_sha256": ""}) == MANIFEST_VALUES
    assert (manifest.epoch, manifest.metrics["val_macro_f1"]) == (2, 0.5)


def test_the_models_of_all_folds_answer_together(tmp_path: Path) -> None:
    torch.manual_seed(1)
    models = [small_model().eval() for _ in range(3)]
    manifest = MANIFEST_VALUES.model_copy(update={"folds": 3})
    save_checkpoint(tmp_path, manifest, models, [TrainingState({"fold": k}, {}, {}) for k in range(3)])
    loaded, _ = load_model(tmp_path)
    frames = torch.randn(2, 8, 3, 48, 48)
    with torch.inference_mode():
        mean = torch.stack([model(frames).softmax(1) for model in models]).mean(0)
        torch.testing.assert_close(loaded(frames).softmax(1), mean)
        for model, again in zip(models, load_models(tmp_path)[0], strict=True):
            torch.testing.assert_close(again.eval()(frames), model(frames))
    assert [state.optimizer["fold"] for state in load_training(tmp_path)] == [0, 1, 2]


def test_training_goes_on_with_the_same_state(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    (state,) = load_training(folder)
    model = small_model()
    learner = learner_of(model)
    learner.load_state(state)
    assert learner.schedule.last_epoch == 1
    assert len(learner.optimizer.state) == len(list(model.parameters()))


def test_damage_is_noticed(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    whole = (folder / MODEL).read_bytes()
    (folder / MODEL).write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="model.pt is damaged: its SHA-256 is not the one"):
        load_model(folder)
    (folder / TRAINING).write_bytes((folder / TRAINING).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="training.pt is damaged"):
        load_training(folder)
    (folder / MODEL).unlink()
    with pytest.raises(CheckpointError, match="model.pt is missing"):
        load_model(folder)
    (folder / MANIFEST).write_text("{}")
    with pytest.raises(CheckpointError, match="checkpoint.json is damaged"):
        read_manifest(folder)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        read_manifest(folder / "none")


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/harmed",)


def test_a_pickle_that_would_run_code_is_refused(checkpoint: tuple[Path, torch.nn.Module]) -> None:
    folder, _ = checkpoint
    (folder / TRAINING).write_bytes(pickle.dumps({"optimizer": _Harmful()}))
    with pytest.raises(CheckpointError, match="training.pt is damaged"):
        load_training(folder)
    assert not Path("/tmp/harmed").exists()


def test_the_champion_is_copied_whole_without_the_training_state(
    checkpoint: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    folder, _ = checkpoint
    best = tmp_path / "best"
    best.mkdir()
    (best / "stale.txt").touch()
    copy_champion(folder, best)
    assert sorted(path.name for path in best.iterdir()) == [MANIFEST, MODEL]
    load_model(best)
