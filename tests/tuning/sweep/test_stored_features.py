"""Sweeps whose trials share the features of a frozen backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.registry import build_model
from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import TuningHere, Workplace, table
from tuning.training.checkpoint import load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    torch.manual_seed(0)
    torch.save(build_model("resnet18", {}, num_classes=4, num_frames=2, size=48).state_dict(), file)
    return file


def sweep(place: Workplace, name: str, address: str, weights: Path, *arguments: str) -> str:
    head = ["train.trainable=head", "train.stored_views=3", f"models.resnet18.weights={weights}"]
    command = place.sweep_command(name, f"--address={address}", "--folds=2", *head, "resources.measure=true")
    return succeeded(place.run([*command, *arguments])).stdout


def test_trials_share_features_and_yield_a_whole_network(
    place: Workplace, ray_address: str, weights: Path, tuning_here: TuningHere
) -> None:
    output = sweep(place, "features", ray_address, weights, "space.lr=[0.01,0.001]")
    assert "clips computed by 1 frozen backbone, 0 already stored" in output
    assert "could not be profiled" not in output
    assert list(table(place.folder / "runs/features")["status"]) == ["done", "done"]

    # The champion is a whole network, so that everything after the sweep works as for other trials.
    champion, _ = load_model(place.folder / "runs/features/best")
    assert any("backbone" in key for key in champion.state_dict())
    assert "accuracy" in succeeded(tuning_here("evaluate", "--run", "features")).stdout
