"""Sweeps in one MLflow database, whose creation takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tuning.config.load import parse_config, save_config
from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.tracking.mlflow_setup import create_sweep_run
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.tracker import Tracker, open_tracker


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    return parse_config({"runs_dir": str(tmp_path_factory.mktemp("runs")), "tracking": {"experiment": "unit"}})


@pytest.fixture
def sweep(config: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowSweep:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "config.yaml").write_text("name: unit\n")
    return create_sweep_run("unit-run", config, {"classes": 3}, tmp_path / "config.yaml")


@pytest.fixture
def client(sweep: MlflowSweep) -> MlflowClient:
    return MlflowClient(tracking_uri=sweep.uri)


@pytest.fixture
def run(sweep: MlflowSweep, config: SweepConfig, tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "runs/unit-run")
    run.path.mkdir(parents=True)
    sweep.save(run.tracking)
    save_config(config, run.config)
    return run


@pytest.fixture
def tracker(run: RunFolder) -> Iterator[Tracker]:
    with open_tracker(run) as tracker:
        yield tracker
