from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.test_results import result
from tuning.config import SweepConfig, TrackingConfig, parse_config
from tuning.tracking import METRICS, Tracking, TrackingError, check_reachable, resolve_uri, start_sweep

CHOICE = {
    "arch": "c3d",
    "sampler": "balanced",
    "loss": "plain",
    "lr": 0.0003,
    "num_frames": 16,
    "selection": "uniform",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    return parse_config({"runs_dir": str(tmp_path_factory.mktemp("runs")), "tracking": {"experiment": "unit"}})


@pytest.fixture
def tracking(config: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "config.yaml").write_text("name: unit\n")
    return start_sweep("unit-run", config, {"classes": 3}, tmp_path / "config.yaml")


@pytest.fixture
def client(tracking: Tracking) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking.uri)


def test_the_parent_run_holds_every_setting(tracking: Tracking, client: MlflowClient, config: SweepConfig) -> None:
    run = client.get_run(tracking.parent_run_id)
    assert run.info.run_name == "unit-run"
    assert run.data.params["classes"] == "3"
    assert run.data.params["train.epochs"] == str(config.train.epochs)
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["config.yaml"]
    assert run.info.artifact_uri.startswith(Path(config.runs_dir).as_uri())


def test_a_trial_has_one_run_however_often_it_starts(tracking: Tracking, client: MlflowClient) -> None:
    first = tracking.start_trial("t1", CHOICE)
    client.set_terminated(first, "KILLED")
    assert tracking.start_trial("t1", CHOICE) == first
    run = client.get_run(first)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "c3d · balanced · 16f · lr 0.0003"
    assert run.data.tags["mlflow.parentRunId"] == tracking.parent_run_id
    assert run.data.params == {key: str(value) for key, value in CHOICE.items()}


def test_two_sweeps_may_have_trials_of_one_id(tracking: Tracking, config: SweepConfig, tmp_path: Path) -> None:
    other = start_sweep("other", config, {}, tmp_path / "config.yaml")
    assert tracking.start_trial("same", CHOICE) != other.start_trial("same", CHOICE)


def test_epochs_are_steps_and_those_logged_are_known(tracking: Tracking, client: MlflowClient) -> None:
    run = tracking.start_trial("t2", CHOICE)
    assert tracking.logged_epochs(run) == set()
    for epoch in (1, 2, 3):
        tracking.log_epoch(run, epoch, {"val_macro_f1": epoch / 10})
    assert tracking.logged_epochs(run) == {1, 2, 3}
    history = client.get_metric_history(run, "val_macro_f1")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_the_end_of_each_trial_is_told(tracking: Tracking, client: MlflowClient) -> None:
    rows = [
        result("done", 0.5),
        result("diverged", 0.1, "diverged"),
        replace(result("error", math.nan, "error", ""), best_epoch=0),
        result("unfinished", 0.2, "unfinished"),
    ]
    runs = {row.id: tracking.start_trial(row.id, CHOICE) for row in rows}
    tracking.end_trials([*rows, result("never-started", 0.1)])
    found = {name: client.get_run(run) for name, run in runs.items()}
    assert {name: run.info.status for name, run in found.items()} == {
        "done": "FINISHED",
        "diverged": "FAILED",
        "error": "FAILED",
        "unfinished": "KILLED",
    }
    assert found["done"].data.metrics["best_val_macro_f1"] == 0.5
    assert "best_val_macro_f1" not in found["error"].data.metrics


def test_epochs_that_were_not_heard_of_are_logged_at_the_end(tracking: Tracking, client: MlflowClient) -> None:
    run = tracking.start_trial("gap", CHOICE)
    history = tuple(dict.fromkeys(METRICS, float(epoch)) for epoch in (1, 2, 3))
    tracking.log_epoch(run, 2, history[1])
    tracking.end_trials([replace(result("gap", 0.5), history=history)])
    points = client.get_metric_history(run, "val_loss")
    assert sorted((point.step, point.value) for point in points) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_sweep_that_was_closed_is_reopened(tracking: Tracking, client: MlflowClient) -> None:
    tracking.end_sweep("KILLED")
    tracking.reopen_sweep()
    assert client.get_run(tracking.parent_run_id).info.status == "RUNNING"


def test_what_is_saved_reads_back(tracking: Tracking, tmp_path: Path) -> None:
    tracking.save(tmp_path / "mlflow.json")
    assert Tracking.load(tmp_path / "mlflow.json") == tracking


def test_the_uri_is_the_configured_one_else_the_environments_else_local(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment")
    assert resolve_uri(TrackingConfig(uri="http://configured"), tmp_path) == "http://configured"
    assert resolve_uri(TrackingConfig(), tmp_path) == "http://from.environment"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(TrackingConfig(), tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="^no MLflow server answers at http://127.0.0.1:9 .*Connection refused"):
        check_reachable("http://127.0.0.1:9")
    check_reachable(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_database_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / "broken.db").write_text("this is no database, and longer than a header of SQLite's would be " * 9)
    config = parse_config({"runs_dir": str(tmp_path), "tracking": {"uri": f"sqlite:///{tmp_path}/broken.db"}})
    with pytest.raises(TrackingError, match="MLflow at sqlite:.*broken.db refuses") as caught:
        start_sweep("unit", config, {}, tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)
