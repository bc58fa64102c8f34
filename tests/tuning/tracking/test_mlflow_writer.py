"""Events of trials and of the sweep, in MLflow."""

from __future__ import annotations

import math
import re
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.helpers import trial_results
from tests.helpers.trial_results import trial_result
from tuning.config.run_folder import RunFolder
from tuning.config.sweep_config import SweepConfig
from tuning.tracking.mlflow_setup import create_sweep_run
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.mlflow_writer import MlflowWriter
from tuning.tracking.tracker import Tracker, open_tracker
from tuning.training.epoch_metrics import EPOCH_METRICS

CHOICE = trial_results.CHOICE | {"lr": 0.0003}


def send_all(tracker: Tracker) -> None:
    assert tracker.send(patience=0) == ""


def metrics(**values: float) -> dict[str, float]:
    return dict.fromkeys(EPOCH_METRICS, 0.5) | values


def test_restarted_trial_keeps_its_run(tracker: Tracker, sweep: MlflowSweep, client: MlflowClient) -> None:
    tracker.events.log_trial_start("t1", CHOICE)
    send_all(tracker)
    first = sweep.find_trial_runs("t1")[0].info.run_id
    client.set_terminated(first, "KILLED")
    tracker.events.log_trial_start("t1", CHOICE | {"lr": 0.1})
    send_all(tracker)
    assert [run.info.run_id for run in sweep.find_trial_runs("t1")] == [first]
    run = client.get_run(first)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "c3d · balanced · 16f · lr 3e-4"
    assert run.data.tags["mlflow.parentRunId"] == sweep.parent_run_id
    assert run.data.params == {key: str(value) for key, value in CHOICE.items()}


def test_trials_of_two_sweeps_may_have_the_same_id(
    tracker: Tracker, sweep: MlflowSweep, config: SweepConfig, run: RunFolder, tmp_path: Path
) -> None:
    other = RunFolder(run.path.with_name("other"))
    other.path.mkdir()
    create_sweep_run("other", config, {}, tmp_path / "config.yaml").save(other.tracking)
    with open_tracker(other) as second:
        for each in (tracker, second):
            each.events.log_trial_start("same", CHOICE)
            send_all(each)
    assert len(sweep.find_trial_runs("same")) == 1


def test_duplicate_run_of_a_frozen_server_is_deleted_at_the_end(
    tracker: Tracker, run: RunFolder, sweep: MlflowSweep, client: MlflowClient
) -> None:
    """A frozen server creates a run for each repeated request once it resumes."""
    tracker.events.log_trial_start("twin", CHOICE)
    tracker.events.log_epoch("twin", 1, metrics())
    send_all(tracker)
    first = sweep.find_trial_runs("twin")[0].info.run_id
    tags = {"mlflow.parentRunId": sweep.parent_run_id, "trial_id": "twin"}
    client.create_run(sweep.experiment_id, 0, tags)
    tracker.events.log_trial_ends([replace(trial_result("twin", 0.5), history=(metrics(),))])
    # A resuming process did not create the run itself.
    writer = MlflowWriter(sweep, run)
    for line, _ in tracker.events.outbox.lines(tracker.events.outbox.sent()):
        writer.write(line)
    assert [run.info.run_id for run in sweep.find_trial_runs("twin")] == [first]


def test_each_epoch_is_one_step_even_if_reported_twice(
    tracker: Tracker, run: RunFolder, sweep: MlflowSweep, client: MlflowClient
) -> None:
    tracker.events.log_trial_start("t2", CHOICE)
    for epoch in (1, 2, 2, 3, 1):
        tracker.events.log_epoch("t2", epoch, metrics(val_macro_f1=epoch / 10))
    send_all(tracker)
    # Every event again, as after a process that was killed before it saved what it had sent.
    writer = MlflowWriter(sweep, run)
    for line, _ in tracker.events.outbox.lines():
        writer.write(line)
    history = client.get_metric_history(sweep.find_trial_runs("t2")[0].info.run_id, "val_macro_f1")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_status_and_best_scores_of_ended_trials(tracker: Tracker, sweep: MlflowSweep) -> None:
    rows = [
        trial_result("done", 0.5),
        trial_result("diverged", 0.1, "diverged"),
        replace(trial_result("error", math.nan, "error", ""), best_epoch=0),
        trial_result("unfinished", 0.2, "unfinished"),
    ]
    for row in rows:
        tracker.events.log_trial_start(row.id, CHOICE)
    tracker.events.log_trial_ends([*rows, trial_result("never-started", 0.1)])
    before = tracker.events.outbox.size()
    tracker.events.log_trial_ends(rows)
    assert tracker.events.outbox.size() == before, "logged once"
    send_all(tracker)
    found = {row.id: sweep.find_trial_runs(row.id)[0] for row in rows}
    assert sweep.find_trial_runs("never-started") == []
    assert {name: run.info.status for name, run in found.items()} == {
        "done": "FINISHED",
        "diverged": "FAILED",
        "error": "FAILED",
        "unfinished": "KILLED",
    }
    assert found["done"].data.metrics["best_val_macro_f1"] == 0.5
    assert "best_val_macro_f1" not in found["error"].data.metrics


def test_missed_epochs_are_logged_at_the_end(tracker: Tracker, sweep: MlflowSweep, client: MlflowClient) -> None:
    history = tuple(dict.fromkeys(EPOCH_METRICS, float(epoch)) for epoch in (1, 2, 3))
    tracker.events.log_trial_start("gap", CHOICE)
    tracker.events.log_epoch("gap", 2, history[1])
    tracker.events.log_trial_ends([replace(trial_result(trial, 0.5), history=history) for trial in ("gap", "missed")])
    send_all(tracker)
    for trial in ("gap", "missed"):
        points = client.get_metric_history(sweep.find_trial_runs(trial)[0].info.run_id, "val_loss")
        assert sorted((point.step, point.value) for point in points) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_resumed_sweep_is_running_again(tracker: Tracker, sweep: MlflowSweep, client: MlflowClient) -> None:
    tracker.events.log_sweep_end("KILLED")
    send_all(tracker)
    assert client.get_run(sweep.parent_run_id).info.status == "KILLED"
    tracker.events.log_sweep_opened()
    send_all(tracker)
    assert client.get_run(sweep.parent_run_id).info.status == "RUNNING"


def test_deleted_run_does_not_block_other_trials(
    tracker: Tracker, sweep: MlflowSweep, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for trial in ("deleted", "kept"):
        tracker.events.log_trial_start(trial, CHOICE)
    send_all(tracker)
    client.delete_run(sweep.find_trial_runs("deleted")[0].info.run_id)
    for trial in ("deleted", "kept"):
        tracker.events.log_epoch(trial, 1, metrics())
    send_all(tracker)
    assert sweep.find_logged_epochs(sweep.find_trial_runs("kept")[0].info.run_id) == {1}
    assert "rejects events" in capsys.readouterr().out


def test_events_wait_while_the_disk_of_the_database_is_full(
    tracker: Tracker, sweep: MlflowSweep, client: MlflowClient
) -> None:
    """A limit on file sizes simulates a full disk."""
    tracker.events.log_trial_start("full", CHOICE)
    send_all(tracker)
    for epoch in range(1, 51):
        tracker.events.log_epoch("full", epoch, metrics())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        size = Path(sweep.uri.removeprefix("sqlite:///")).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        unsent = tracker.send(patience=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    message = rf"\d+ events of mlflow.jsonl are not sent to MLflow at {sweep.uri} yet \(.*(disk|full)"
    assert re.match(message, unsent), unsent
    send_all(tracker)
    history = client.get_metric_history(sweep.find_trial_runs("full")[0].info.run_id, "val_loss")
    assert [point.step for point in history] == list(range(1, 51))
