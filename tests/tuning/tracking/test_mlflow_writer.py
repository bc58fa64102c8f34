from __future__ import annotations

import json
import math
import os
import re
import resource
import signal
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES, build_model
from tests.helpers.checkpoints import MANIFEST, PREDICTIONS, TRIAL
from tests.helpers.trial_results import trial_result
from tuning.config.load import parse_config
from tuning.config.run_folder import RunFolder
from tuning.config.schema.tracking import TrackingConfig
from tuning.config.sweep_config import SweepConfig
from tuning.tracking.events import METRICS
from tuning.tracking.mlflow_writer import Reporting, Tracking, Writer, reporting, start_sweep
from tuning.tracking.server import TrackingError, check_reachable, resolve_uri, ui_command
from tuning.training.checkpoint import load_model, save_checkpoint
from tuning.training.learner import TrainingState
from tuning.training.predictions import Predictions

CHOICE = {
    "arch": "c3d",
    "weights": "none",
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


@pytest.fixture
def run(tracking: Tracking, tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "runs/unit-run")
    run.path.mkdir(parents=True)
    tracking.save(run.tracking)
    return run


@pytest.fixture
def report(run: RunFolder) -> Iterator[Reporting]:
    with reporting(run) as report:
        yield report


def sent(report: Reporting) -> None:
    assert report.send(patience=0) == ""


def figures(**figures: float) -> dict[str, float]:
    return dict.fromkeys(METRICS, 0.5) | figures


def test_a_trial_has_one_run_however_often_it_starts(
    report: Reporting, tracking: Tracking, client: MlflowClient
) -> None:
    report.journal.start_trial("t1", CHOICE)
    sent(report)
    first = tracking.trial_runs("t1")[0].info.run_id
    client.set_terminated(first, "KILLED")
    report.journal.start_trial("t1", CHOICE | {"lr": 0.1})
    sent(report)
    assert [run.info.run_id for run in tracking.trial_runs("t1")] == [first]
    run = client.get_run(first)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "c3d · balanced · 16f · lr 3e-4"
    assert run.data.tags["mlflow.parentRunId"] == tracking.parent_run_id
    assert run.data.params == {key: str(value) for key, value in CHOICE.items()}


def test_two_sweeps_may_have_trials_of_one_id(
    report: Reporting, tracking: Tracking, config: SweepConfig, run: RunFolder, tmp_path: Path
) -> None:
    other = RunFolder(run.path.with_name("other"))
    other.path.mkdir()
    start_sweep("other", config, {}, tmp_path / "config.yaml").save(other.tracking)
    with reporting(other) as second:
        for each in (report, second):
            each.journal.start_trial("same", CHOICE)
            sent(each)
    assert len(tracking.trial_runs("same")) == 1


def test_a_run_that_a_stopped_server_made_twice_is_one_at_the_end(
    report: Reporting, run: RunFolder, tracking: Tracking, client: MlflowClient
) -> None:
    """It may carry out what it was asked for, then asked again because it had not answered."""
    report.journal.start_trial("twin", CHOICE)
    report.journal.log_epoch("twin", 1, figures())
    sent(report)
    first = tracking.trial_runs("twin")[0].info.run_id
    tags = {"mlflow.parentRunId": tracking.parent_run_id, "trial_id": "twin"}
    client.create_run(tracking.experiment_id, 0, tags)
    report.journal.end_trials([replace(trial_result("twin", 0.5), history=(figures(),))])
    # By a process that goes on and has not made the run itself.
    writer = Writer(tracking, run)
    for line, _ in report.journal.spool.lines(report.journal.spool.sent()):
        writer.write(line)
    assert [run.info.run_id for run in tracking.trial_runs("twin")] == [first]


def test_epochs_are_steps_and_a_restarted_trials_are_logged_once(
    report: Reporting, run: RunFolder, tracking: Tracking, client: MlflowClient
) -> None:
    report.journal.start_trial("t2", CHOICE)
    for epoch in (1, 2, 2, 3, 1):
        report.journal.log_epoch("t2", epoch, figures(val_macro_f1=epoch / 10))
    sent(report)
    # All of it again, as where a process was killed before it could remember what it had sent.
    again = Writer(tracking, run)
    for line, _ in report.journal.spool.lines():
        again.write(line)
    history = client.get_metric_history(tracking.trial_runs("t2")[0].info.run_id, "val_macro_f1")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_the_end_of_each_trial_is_told(report: Reporting, tracking: Tracking) -> None:
    rows = [
        trial_result("done", 0.5),
        trial_result("diverged", 0.1, "diverged"),
        replace(trial_result("error", math.nan, "error", ""), best_epoch=0),
        trial_result("unfinished", 0.2, "unfinished"),
    ]
    for row in rows:
        report.journal.start_trial(row.id, CHOICE)
    report.journal.end_trials([*rows, trial_result("never-started", 0.1)])
    before = report.journal.spool.size()
    report.journal.end_trials(rows)
    assert report.journal.spool.size() == before, "told once"
    sent(report)
    found = {row.id: tracking.trial_runs(row.id)[0] for row in rows}
    assert tracking.trial_runs("never-started") == []
    assert {name: run.info.status for name, run in found.items()} == {
        "done": "FINISHED",
        "diverged": "FAILED",
        "error": "FAILED",
        "unfinished": "KILLED",
    }
    assert found["done"].data.metrics["best_val_macro_f1"] == 0.5
    assert "best_val_macro_f1" not in found["error"].data.metrics


def test_epochs_that_were_not_heard_of_are_logged_at_the_end(
    report: Reporting, tracking: Tracking, client: MlflowClient
) -> None:
    history = tuple(dict.fromkeys(METRICS, float(epoch)) for epoch in (1, 2, 3))
    report.journal.start_trial("gap", CHOICE)
    report.journal.log_epoch("gap", 2, history[1])
    report.journal.end_trials([replace(trial_result(trial, 0.5), history=history) for trial in ("gap", "unheard")])
    sent(report)
    for trial in ("gap", "unheard"):
        points = client.get_metric_history(tracking.trial_runs(trial)[0].info.run_id, "val_loss")
        assert sorted((point.step, point.value) for point in points) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_sweep_that_was_closed_is_reopened(report: Reporting, tracking: Tracking, client: MlflowClient) -> None:
    report.journal.end_sweep("KILLED")
    sent(report)
    assert client.get_run(tracking.parent_run_id).info.status == "KILLED"
    report.journal.open_sweep()
    sent(report)
    assert client.get_run(tracking.parent_run_id).info.status == "RUNNING"


def test_a_run_that_was_deleted_holds_up_no_other(
    report: Reporting, tracking: Tracking, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for trial in ("deleted", "kept"):
        report.journal.start_trial(trial, CHOICE)
    sent(report)
    client.delete_run(tracking.trial_runs("deleted")[0].info.run_id)
    for trial in ("deleted", "kept"):
        report.journal.log_epoch(trial, 1, figures())
    sent(report)
    assert tracking.logged_epochs(tracking.trial_runs("kept")[0].info.run_id) == {1}
    assert "refuses what it is sent" in capsys.readouterr().out


def test_a_database_whose_disk_is_full_is_waited_for(report: Reporting, tracking: Tracking) -> None:
    """A limit on file sizes stands for the disk's end."""
    report.journal.start_trial("full", CHOICE)
    sent(report)
    for epoch in range(1, 51):
        report.journal.log_epoch("full", epoch, figures())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        size = Path(tracking.uri.removeprefix("sqlite:///")).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        told = report.send(patience=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert re.match(rf"\d+ entries of mlflow.jsonl are not at MLflow at {tracking.uri} yet \(.*(disk|full)", told), told
    sent(report)
    run_id = tracking.trial_runs("full")[0].info.run_id
    history = MlflowClient(tracking_uri=tracking.uri).get_metric_history(run_id, "val_loss")
    assert [point.step for point in history] == list(range(1, 51))


@pytest.fixture
def champion(report: Reporting, run: RunFolder, classes: tuple[str, ...]) -> Reporting:
    """A run that has one, untrained."""
    run.best.mkdir()
    manifest = MANIFEST.model_copy(update={"classes": classes})
    answers = Predictions(["a"], torch.zeros(1, dtype=torch.int64), torch.zeros(1, len(classes)))
    model = build_model("c3d", TRIAL.options, num_classes=len(classes), num_frames=8, size=48)
    save_checkpoint(run.best, manifest, [model], [TrainingState({}, {}, {})], answers)
    run.split.write_text("path,label,group,split\n")
    report.journal.start_trial("best", CHOICE)
    report.journal.choose_champion("best", "unit-model")
    return report


@pytest.mark.parametrize("classes", [("../x", "ä" * 250, "$\\frac$", "'\"; --")])
def test_a_champion_is_registered_once_whatever_its_classes_are_called(
    champion: Reporting, tracking: Tracking, client: MlflowClient, classes: tuple[str, ...]
) -> None:
    sent(champion)
    champion.journal.choose_champion("best", "unit-model")
    sent(champion)
    versions = client.search_model_versions("name = 'unit-model'")
    assert [str(version.version) for version in versions] == [champion.writer.registered]
    assert versions[0].run_id == tracking.trial_runs("best")[0].info.run_id
    assert client.get_model_version_by_alias("unit-model", "candidate").version == versions[0].version


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


def test_passwords_are_neither_kept_nor_shown(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://anna:geheim99@127.0.0.1:9/mlflow"
    secret = replace(tracking, uri=uri)
    secret.save(tmp_path / "mlflow.json")
    assert json.loads((tmp_path / "mlflow.json").read_text())["uri"] == "http://127.0.0.1:9/mlflow"
    assert "geheim99" not in repr(secret)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert Tracking.load(tmp_path / "mlflow.json") == secret
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:geheim99@elsewhere/mlflow")
    assert Tracking.load(tmp_path / "mlflow.json").uri == "http://127.0.0.1:9/mlflow"
    with pytest.raises(TrackingError, match="at http://127.0.0.1:9/mlflow "):
        check_reachable(uri)
    with pytest.raises(TrackingError) as caught:
        start_sweep(
            "unit",
            parse_config({"runs_dir": str(tmp_path)}).model_copy(update={"tracking": TrackingConfig()}),
            {},
            tmp_path / "config.yaml",
        )
    assert "elsewhere" in str(caught.value)
    assert "geheim99" not in str(caught.value)
    command, environment = ui_command(uri, "127.0.0.1", 5000)
    assert "geheim99" not in " ".join(command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri


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


def test_the_champion_is_registered_without_a_word_and_answers_as_its_checkpoint(
    report: Reporting,
    run: RunFolder,
    tracking: Tracking,
    client: MlflowClient,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Two folds of a network whose export torch has something to say of."""
    options = {"hidden": 8, "temporal": "lstm", "temporal_width": 8}
    trial = TRIAL.model_copy(update={"arch": "resnet18", "options": options, "num_frames": 3})
    manifest = MANIFEST.model_copy(update={"trial": trial, "folds": 2})
    models = [build_model("resnet18", options, num_classes=2, num_frames=3, size=48) for _ in range(2)]
    run.best.mkdir()
    save_checkpoint(run.best, manifest, models, [TrainingState({}, {}, {}) for _ in models], PREDICTIONS)
    run.split.write_text("path,label,group,split\n")
    report.journal.start_trial("lstm", CHOICE)
    report.journal.choose_champion("lstm", "silent")
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as told:
        sent(report)
    assert tuple(capfd.readouterr()) == ("", "")
    assert not [str(one.message) for one in told if "tensor" in str(one.message)]
    assert "MLFLOW_REGISTRY_URI" not in os.environ, "processes started later would look for models there"

    version = client.get_model_version_by_alias("silent", "candidate")
    assert (str(version.version), version.run_id) == ("1", tracking.trial_runs("lstm")[0].info.run_id)
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    file = Path(logged.artifact_location.removeprefix("file://")) / "data/model/network.pt2"
    exported = torch.export.load(file).module()
    frames = torch.randint(256, (5, 3, 3, 48, 48), dtype=torch.uint8)
    model, arch = load_model(run.best)[0], ARCHITECTURES["resnet18"]
    with torch.inference_mode():
        torch.testing.assert_close(exported(frames), model(Normalise(arch.mean, arch.std)(frames)))
