"""A registered model of a run without Ray, and its use in a process that has not this project."""

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
from tests.helpers.video_files import moving_square, write_video
from tuning.config.load import parse_config, save_config
from tuning.config.paths import absolute_paths
from tuning.config.run_folder import RunFolder
from tuning.config.schema.train import TrainConfig
from tuning.inference.champion import Champion
from tuning.tracking.mlflow_writer import start_sweep
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest, save_checkpoint
from tuning.training.learner import TrainingState
from tuning.training.predictions import Predictions

CLASSES = ("dip", "label", "squat")
"""One is called as a column of the answers."""

TEMPERED = Calibration(temperature=0.25, threshold=0.0, max_risk=0.1, risk=0.05, coverage=0.8, clips=20)

CHOICE = {
    "arch": "c3d",
    "weights": "none",
    "sampler": "balanced",
    "loss": "plain",
    "lr": 0.0003,
    "num_frames": 8,
    "selection": "uniform",
}


def finished_run(place: Path, *, folds: int = 1, seed: int = 0, precision: str = "fp32") -> RunFolder:
    """A run's folder as a sweep leaves it before its test, with two test clips a class; its champion is untrained."""
    run = RunFolder(place / "runs" / f"run-{seed}")
    run.best.mkdir(parents=True)
    lines = ["path,label,group,split"]
    for number, label in enumerate(CLASSES):
        for take in range(2):
            file = place / f"clips/{label}/take {take}.mp4"
            if not file.exists():
                write_video(file, moving_square(2 * number + take, height=60 + 10 * take, width=80))
            lines.append(f"{label}/take {take}.mp4,{label},{label}-{take},test")
        lines += [f"{label}/{split}.mp4,{label},{label}-{split},{split}" for split in ("train", "val")]
    run.split.write_text("\n".join(lines) + "\n")
    config = parse_config(
        {
            "runs_dir": str(place / "runs"),
            "data": {"dir": str(place / "clips")},
            "store": {"dir": str(place / "store"), "frames": 8, "short_side": 56},
            "space": {"arch": "c3d", "num_frames": 8},
            "tracking": {"uri": f"sqlite:///{place}/mlflow.db", "model_name": "exercises"},
        }
    )
    save_config(absolute_paths(config), run.config)
    _save_champion(run, folds, seed, precision)
    params = {"classes": 3, "test_clips": 6, "train_clips": 3, "split_sha256": read_split(run.split).sha256}
    start_sweep(run.path.name, config, params, run.config).save(run.tracking)
    return run


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
    answers = Predictions([f"{name}/val.mp4" for name in CLASSES], torch.arange(3), 2 * torch.eye(3))
    save_checkpoint(run.best, manifest, models, [TrainingState({}, {}, {}) for _ in models], answers)
    TEMPERED.save(run.best)
    sure = sorted(float(row.max()) for row in answers_here(run))
    # Of which half of the clips fall short.
    replace(TEMPERED, threshold=(sure[2] + sure[3]) / 2).save(run.best)


def clips_of(run: RunFolder) -> list[Path]:
    """The files of the run's test clips."""
    return [run.path.parents[1] / f"clips/{name}/take {take}.mp4" for name in CLASSES for take in range(2)]


def answers_here(run: RunFolder) -> torch.Tensor:
    """What the run's champion makes of its test clips: probabilities `(6, 3)`."""
    champion = Champion(run.best)
    return torch.from_numpy(champion.probabilities([champion.look(file).frames for file in clips_of(run)]))


def elsewhere(place: Path, script: str, *args: str) -> Any:
    """What a script prints as JSON, in another folder that holds packages of this project's names."""
    for name in ("data", "models", "tuning"):
        (place / name).mkdir(parents=True, exist_ok=True)
        (place / name / "__init__.py").write_text(f'raise ImportError("the {name} of somebody else")\n')
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *args],
        cwd=place,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
