"""Events reach a real `mlflow server` that freezes, dies and restarts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.helpers.processes import wait_for
from tests.helpers.servers import POSTGRES, MlflowServer, mlflow_server, postgresql
from tests.helpers.trial_results import CHOICE, trial_result
from tuning.config.load import parse_config
from tuning.config.run_folder import RunFolder
from tuning.tracking.mlflow_setup import create_sweep_run
from tuning.tracking.tracker import Tracker, open_tracker
from tuning.training.epoch_metrics import EPOCH_METRICS

pytestmark = pytest.mark.slow

DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.skipif(None in POSTGRES, reason="PostgreSQL is not installed")),
]
EPOCHS = 6


@pytest.fixture(params=DATABASES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MlflowServer]:
    if request.param == "sqlite":
        with mlflow_server(f"sqlite:///{tmp_path}/served.db", tmp_path / "artifacts") as server:
            yield server
    else:
        with postgresql() as database, mlflow_server(database, tmp_path / "artifacts") as server:
            yield server


def test_server_that_freezes_and_dies_has_every_event_in_the_end(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = parse_config({"runs_dir": str(tmp_path), "tracking": {"uri": server.uri}})
    (tmp_path / "config.yaml").touch()
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    sweep = create_sweep_run("run", config, {}, tmp_path / "config.yaml")
    sweep.save(run.tracking)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")

    def is_noted_unavailable() -> bool:
        return "is unavailable" in capsys.readouterr().out

    with open_tracker(run) as tracker:
        with tracker.sender.running():
            log_trial(tracker, "before")
            wait_for(lambda: tracker.sender.count_pending() == 0, "all events sent")
            server.send_signal(signal.SIGSTOP)
            log_trial(tracker, "frozen")
            wait_for(is_noted_unavailable, "a note that the server is unavailable")
            server.send_signal(signal.SIGCONT)
            wait_for(lambda: tracker.sender.count_pending() == 0, "all events sent")
            server.stop(signal.SIGKILL)
            log_trial(tracker, "dead")
            wait_for(is_noted_unavailable, "a note that the server is unavailable")
        unsent = tracker.send(patience=0)
        assert unsent.startswith(f"{EPOCHS + 1} events of mlflow.jsonl are not sent to MLflow at {server.uri} yet (")
    server.start()
    trials = ["before", "frozen", "dead"]
    with open_tracker(run) as tracker:
        tracker.events.log_trial_ends([trial_result(trial, 0.5) for trial in trials])
        tracker.events.log_sweep_end("FINISHED")
        assert tracker.send(patience=60) == ""
    client = MlflowClient(tracking_uri=server.uri)
    children = client.search_runs([sweep.experiment_id], "tags.trial_id != ''", ViewType.ACTIVE_ONLY)
    assert sorted(child.data.tags["trial_id"] for child in children) == sorted(trials)
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == sweep.parent_run_id
        assert child.info.status == "FINISHED"
        for key in EPOCH_METRICS:
            points = client.get_metric_history(child.info.run_id, key)
            assert [(point.step, point.value) for point in points] == [(n, n / 8) for n in range(1, EPOCHS + 1)]
    assert client.get_run(sweep.parent_run_id).info.status == "FINISHED"


def log_trial(tracker: Tracker, trial: str) -> None:
    tracker.events.log_trial_start(trial, CHOICE)
    for epoch in range(1, EPOCHS + 1):
        tracker.events.log_epoch(trial, epoch, dict.fromkeys(EPOCH_METRICS, epoch / 8))
