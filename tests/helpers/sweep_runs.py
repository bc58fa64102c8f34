"""Run the command line as a user does, with settings small enough for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.helpers.processes import LIMIT_SECONDS, PROJECT, BackgroundCommand, background_command
from tuning.tracking.local_database import database_uri

SMALL_CONFIG = """
store: {frames: 8, short_side: 56}
space: {arch: [resnet18], sampler: [imbalanced], lr: [0.001], num_frames: [2]}
search: {asha: null}
train: {epochs: 2, batch_size: 8, size: 48, precision: fp32}
models:
  resnet18: {hidden: 16}
  c3d: {width: 8, batch_norm: true, head: pool}
resources: {measure: false}
tracking: {experiment: test, model_name: test}
"""


@dataclass(frozen=True)
class Workplace:
    """A folder in which commands run; it holds the runs and the frame store, the clips are elsewhere."""

    folder: Path
    clips: Path

    def __post_init__(self) -> None:
        (self.folder / "small.yaml").write_text(SMALL_CONFIG)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables without the caller's cluster and tracking server."""
        outside = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
        return {**outside, "PYTHONPATH": str(PROJECT)}

    def sweep_command(self, name: str, *arguments: str) -> list[str]:
        """Return the command of a sweep over the clips, grouped by source."""
        command = [sys.executable, "-m", "tuning", "sweep", "--config", "small.yaml", "--data", str(self.clips)]
        return [*command, "--groups", str(self.clips / "sources.csv"), "--name", name, *arguments]

    def run(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and capture its output."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    def start(self, command: list[str], **environment: str) -> AbstractContextManager[BackgroundCommand]:
        """Run a command while the test goes on; its output goes to a file of the folder."""
        output = self.folder / f"output-{uuid.uuid4().hex}"
        return background_command(command, folder=self.folder, output=output, **self.environment | environment)

    def tuning(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m tuning …`."""
        return self.run([sys.executable, "-m", "tuning", *arguments], **environment)

    def data(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m data …`."""
        return self.run([sys.executable, "-m", "data", *arguments])


TuningHere = Callable[..., subprocess.CompletedProcess[str]]
"""`python -m tuning …` in the test's own process."""


def table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "results.csv")


def client(place: Workplace) -> MlflowClient:
    uri = database_uri(place.folder / "runs/mlflow.db")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def trial_runs(place: Workplace, run: str) -> list[Run]:
    """Return MLflow's runs of the trials of a sweep."""
    tracking = json.loads((place.folder / "runs" / run / "mlflow.json").read_text())
    parent = f"tags.mlflow.parentRunId = '{tracking['parent_run_id']}'"
    return list(client(place).search_runs([tracking["experiment_id"]], parent))


def logged_epochs(place: Workplace, run: str, trial: str) -> dict[tuple[str, int], float]:
    """Every figure that MLflow has of a trial, except times."""
    found = [each for each in trial_runs(place, run) if each.data.tags["trial_id"] == trial]
    assert len(found) == 1, "one child run a trial"
    keys = ("train_loss", "train_accuracy", "val_loss", "val_macro_f1", "lr")
    history = {key: client(place).get_metric_history(found[0].info.run_id, key) for key in keys}
    assert all(len({point.step for point in points}) == len(points) for points in history.values()), "logged once"
    return {(key, point.step): point.value for key, points in history.items() for point in points}
