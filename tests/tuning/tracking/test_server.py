"""Against a real `mlflow server` that freezes, dies and comes back."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.helpers.servers import POSTGRES, MlflowServer, mlflow_server, postgresql
from tests.helpers.trial_results import CHOICE, trial_result
from tuning.config.load import parse_config
from tuning.config.run_folder import RunFolder
from tuning.tracking.events import METRICS
from tuning.tracking.mlflow_writer import Reporting, reporting, start_sweep

DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.skipif(None in POSTGRES, reason="PostgreSQL is not installed")),
]
EPOCHS = 6


@pytest.fixture(params=DATABASES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MlflowServer]:
    if request.param == "sqlite":
        with mlflow_server(f"sqlite:///{tmp_path}/served.db", tmp_path / "kept") as server:
            yield server
    else:
        with postgresql() as database, mlflow_server(database, tmp_path / "kept") as server:
            yield server


def test_a_server_that_freezes_then_dies_has_all_of_it_in_the_end(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = parse_config({"runs_dir": str(tmp_path), "tracking": {"uri": server.uri}})
    (tmp_path / "config.yaml").touch()
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    tracking = start_sweep("run", config, {}, tmp_path / "config.yaml")
    tracking.save(run.tracking)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with reporting(run) as report:
        with report.sender.running():
            tell(report, "before")
            wait(report, left=0)
            server.send_signal(signal.SIGSTOP)
            tell(report, "frozen")
            wait_for_note(capsys, "is away")
            server.send_signal(signal.SIGCONT)
            wait(report, left=0)
            server.stop(signal.SIGKILL)
            tell(report, "dead")
            wait_for_note(capsys, "is away")
        told = report.send(patience=0)
        assert told.startswith(f"{EPOCHS + 1} entries of mlflow.jsonl are not at MLflow at {server.uri} yet (")
    server.start()
    trials = ["before", "frozen", "dead"]
    with reporting(run) as report:
        report.journal.end_trials([trial_result(trial, 0.5) for trial in trials])
        report.journal.end_sweep("FINISHED")
        assert report.send(patience=60) == ""
    served = MlflowClient(tracking_uri=server.uri)
    children = served.search_runs([tracking.experiment_id], "tags.trial_id != ''", ViewType.ACTIVE_ONLY)
    assert sorted(child.data.tags["trial_id"] for child in children) == sorted(trials)
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == tracking.parent_run_id
        assert child.info.status == "FINISHED"
        for key in METRICS:
            points = served.get_metric_history(child.info.run_id, key)
            assert [(point.step, point.value) for point in points] == [(n, n / 8) for n in range(1, EPOCHS + 1)]
    assert served.get_run(tracking.parent_run_id).info.status == "FINISHED"


def tell(report: Reporting, trial: str) -> None:
    report.journal.start_trial(trial, CHOICE)
    for epoch in range(1, EPOCHS + 1):
        report.journal.log_epoch(trial, epoch, dict.fromkeys(METRICS, epoch / 8))


def wait(report: Reporting, left: int) -> None:
    deadline = time.monotonic() + 120
    while report.sender.left() > left:
        assert time.monotonic() < deadline, f"{report.sender.left()} left"
        time.sleep(0.1)


def wait_for_note(capsys: pytest.CaptureFixture[str], note: str) -> None:
    deadline = time.monotonic() + 120
    while note not in capsys.readouterr().out:
        assert time.monotonic() < deadline, note
        time.sleep(0.1)
