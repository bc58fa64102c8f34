"""A champion is registered once, silently, and its model returns what its checkpoint returns."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES, build_model
from tests.helpers.checkpoints import MANIFEST, PREDICTIONS, TRIAL
from tests.helpers.shallow_networks import use_shallow_networks
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.trial_results import CHOICE
from tuning.config.run_folder import RunFolder
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.tracker import Tracker
from tuning.training.checkpoint import load_model, save_checkpoint
from tuning.training.learner import TrainingState
from tuning.training.predictions import Predictions

__all__ = ["one_seed_one_thread"]


def test_champion_is_registered_once_whatever_its_class_names(
    tracker: Tracker, run: RunFolder, sweep: MlflowSweep, client: MlflowClient
) -> None:
    classes = ("../x", "ä" * 250, "$\\frac$", "'\"; --")
    manifest = MANIFEST.model_copy(update={"classes": classes})
    predictions = Predictions(["a"], torch.zeros(1, dtype=torch.int64), torch.zeros(1, len(classes)))
    model = build_model("c3d", TRIAL.options, num_classes=len(classes), num_frames=8, size=48)
    run.best.mkdir()
    save_checkpoint(run.best, manifest, [model], [TrainingState({}, {}, {})], predictions)
    run.split.write_text("path,label,group,split\n")
    tracker.events.log_trial_start("best", CHOICE)
    for _ in range(2):
        tracker.events.log_champion("best", "unit-model")
        assert tracker.send(patience=0) == ""
    versions = client.search_model_versions("name = 'unit-model'")
    assert [str(version.version) for version in versions] == [tracker.writer.model_version]
    assert versions[0].run_id == sweep.find_trial_runs("best")[0].info.run_id
    assert client.get_model_version_by_alias("unit-model", "candidate").version == versions[0].version


def test_champion_is_registered_silently_and_its_graph_equals_its_checkpoint(
    tracker: Tracker,
    run: RunFolder,
    sweep: MlflowSweep,
    client: MlflowClient,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two folds of a network with an LSTM, whose export torch warns about."""
    use_shallow_networks(monkeypatch)
    options = {"hidden": 8, "temporal": "lstm", "temporal_width": 8}
    trial = TRIAL.model_copy(update={"arch": "resnet18", "options": options, "num_frames": 3})
    manifest = MANIFEST.model_copy(update={"trial": trial, "folds": 2})
    models = [build_model("resnet18", options, num_classes=2, num_frames=3, size=48) for _ in range(2)]
    run.best.mkdir()
    save_checkpoint(run.best, manifest, models, [TrainingState({}, {}, {}) for _ in models], PREDICTIONS)
    run.split.write_text("path,label,group,split\n")
    tracker.events.log_trial_start("lstm", CHOICE)
    tracker.events.log_champion("lstm", "silent")
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as caught:
        assert tracker.send(patience=0) == ""
    assert tuple(capfd.readouterr()) == ("", "")
    assert not [str(warning.message) for warning in caught if "tensor" in str(warning.message)]
    assert "MLFLOW_REGISTRY_URI" not in os.environ, "processes started later would look for models there"
    assert "MLFLOW_TRACKING_URI" not in os.environ, "sweeps of this process would be recorded there"

    version = client.get_model_version_by_alias("silent", "candidate")
    assert (str(version.version), version.run_id) == ("1", sweep.find_trial_runs("lstm")[0].info.run_id)
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    file = Path(logged.artifact_location.removeprefix("file://")) / "data/model/network.pt2"
    exported = torch.export.load(file).module()
    frames = torch.randint(256, (5, 3, 3, 48, 48), dtype=torch.uint8)
    model, arch = load_model(run.best)[0], ARCHITECTURES["resnet18"]
    with torch.inference_mode():
        torch.testing.assert_close(exported(frames), model(Normalise(arch.mean, arch.std)(frames)))
