"""A run with a registered model, written without Ray, and a process that uses the model without this project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from data.dataset.splits import read_split
from models.registry import build_model
from tests.helpers.checkpoints import TRIAL
from tests.helpers.small_models import one_thread
from tests.helpers.video_files import moving_square, write_video
from tuning.config.load import parse_config, save_config
from tuning.config.paths import absolute_paths
from tuning.config.run_folder import RunFolder
from tuning.config.schema.train import TrainConfig
from tuning.inference.champion import Champion
from tuning.tracking.local_database import database_uri
from tuning.tracking.mlflow_setup import create_sweep_run
from tuning.tracking.tracker import open_tracker
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest, save_checkpoint
from tuning.training.learner import TrainingState
from tuning.training.predictions import Predictions

CLASSES = ("dip", "label", "squat")
"""One has the name of a column of the model's output."""

CHOICE = {
    "arch": "c3d",
    "weights": "none",
    "sampler": "balanced",
    "loss": "plain",
    "lr": 0.0003,
    "num_frames": 8,
    "selection": "uniform",
}

_CALIBRATION = Calibration(temperature=0.25, threshold=0.0, max_risk=0.1, risk=0.05, coverage=0.8, clips=20)


def finished_run(
    folder: Path, *, folds: int = 1, seed: int = 0, precision: str = "fp32", database: str = "mlflow.db"
) -> RunFolder:
    """A run as a sweep leaves it before the test, with two test clips per class; its champion is not trained."""
    run = RunFolder(folder / "runs" / f"run-{seed}")
    run.best.mkdir(parents=True)
    lines = ["path,label,group,split"]
    for number, label in enumerate(CLASSES):
        for take in range(2):
            file = folder / f"clips/{label}/take {take}.mp4"
            if not file.exists():
                write_video(file, moving_square(2 * number + take, height=60 + 10 * take, width=80))
            lines.append(f"{label}/take {take}.mp4,{label},{label}-{take},test")
        lines += [f"{label}/{split}.mp4,{label},{label}-{split},{split}" for split in ("train", "val")]
    run.split.write_text("\n".join(lines) + "\n")
    config = parse_config(
        {
            "name": run.path.name,
            "runs_dir": str(folder / "runs"),
            "data": {"dir": str(folder / "clips")},
            "store": {"dir": str(folder / "store"), "frames": 8, "short_side": 56},
            "space": {"arch": "c3d", "num_frames": 8},
            "tracking": {"uri": database_uri(folder / database), "model_name": "exercises"},
        }
    )
    save_config(absolute_paths(config), run.config)
    with one_thread():
        _save_champion(run, folds, seed, precision)
    params = {"classes": 3, "test_clips": 6, "train_clips": 3, "split_sha256": read_split(run.split).sha256}
    create_sweep_run(run.path.name, config, params, run.config).save(run.tracking)
    return run


def register(run: RunFolder) -> str:
    """Register the run's champion; return the number of the version."""
    with one_thread(), open_tracker(run) as tracker:
        tracker.events.log_trial_start("best", CHOICE)
        tracker.events.log_champion("best", "exercises")
        assert tracker.send(patience=0) == ""
        return tracker.writer.model_version


def _save_champion(run: RunFolder, folds: int, seed: int, precision: str) -> None:
    train = TrainConfig(epochs=3, size=48, precision=precision)
    options = {"width": 4, "batch_norm": True, "head": "pool"}
    trial = TRIAL.model_copy(update={"num_frames": 8, "options": options, "train": train})
    manifest = Manifest(
        trial=trial,
        classes=CLASSES,
        split_sha256=read_split(run.split).sha256,
        decode=run.read_config().store.decode_settings(),
        folds=folds,
        precision=precision,
        history=({"val_macro_f1": 0.5, "val_accuracy": 0.6},),
    )
    torch.manual_seed(seed)
    models = [build_model("c3d", options, num_classes=3, num_frames=8, size=48) for _ in range(folds)]
    validation = Predictions([f"{name}/val.mp4" for name in CLASSES], torch.arange(3), 2 * torch.eye(3))
    save_checkpoint(run.best, manifest, models, [TrainingState({}, {}, {}) for _ in models], validation)
    _CALIBRATION.save(run.best)
    confidences = sorted(float(row.max()) for row in champion_probabilities(run))
    # Half of the clips are below the threshold.
    replace(_CALIBRATION, threshold=(confidences[2] + confidences[3]) / 2).save(run.best)


def clip_files(run: RunFolder) -> list[Path]:
    """The files of the run's test clips."""
    return [run.path.parents[1] / f"clips/{name}/take {take}.mp4" for name in CLASSES for take in range(2)]


def champion_probabilities(run: RunFolder) -> torch.Tensor:
    """The probabilities `(6, 3)` of the run's test clips, by the champion's checkpoint."""
    champion = Champion(run.best)
    clips = [champion.read_clip(file).frames for file in clip_files(run)]
    return torch.from_numpy(champion.predict_probabilities(clips))


def run_without_project(folder: Path, script: str, *args: str) -> Any:
    """Run a script in a folder that has other packages of this project's names; return what it prints as JSON."""
    for name in ("data", "models", "tuning"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text(f'raise ImportError("another package called {name}")\n')
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *args],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
