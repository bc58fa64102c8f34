"""The parent run of a sweep, and the file that finds it again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from tests.helpers.processes import PROJECT
from tuning.config.load import parse_config
from tuning.config.schema.tracking import TrackingConfig
from tuning.config.sweep_config import SweepConfig
from tuning.tracking.mlflow_setup import check_accepts_sweep, create_sweep_run
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.server import TrackingError, create_database


def test_parent_run_has_every_setting(sweep: MlflowSweep, client: MlflowClient, config: SweepConfig) -> None:
    run = client.get_run(sweep.parent_run_id)
    assert run.info.run_name == "unit-run"
    assert run.data.params["classes"] == "3"
    assert run.data.params["train.epochs"] == str(config.train.epochs)
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["config.yaml"]
    assert run.info.artifact_uri.startswith(Path(config.runs_dir).as_uri())


def test_more_parameters_than_fit_into_a_request_are_all_logged(
    config: SweepConfig, sweep: MlflowSweep, client: MlflowClient, tmp_path: Path
) -> None:
    many = {f"param_{number}": number for number in range(250)}
    run_id = create_sweep_run("many", config, many, tmp_path / "config.yaml").parent_run_id
    params = client.get_run(run_id).data.params
    assert {key: params[key] for key in many} == {key: str(value) for key, value in many.items()}


def test_saved_sweep_loads_unchanged(sweep: MlflowSweep, tmp_path: Path) -> None:
    sweep.save(tmp_path / "mlflow.json")
    assert MlflowSweep.load(tmp_path / "mlflow.json") == sweep


def test_password_is_not_saved_but_taken_from_the_environment(
    sweep: MlflowSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://anna:geheim99@127.0.0.1:9/mlflow"
    secret = replace(sweep, uri=uri)
    secret.save(tmp_path / "mlflow.json")
    assert json.loads((tmp_path / "mlflow.json").read_text())["uri"] == "http://127.0.0.1:9/mlflow"
    assert "geheim99" not in repr(secret)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert MlflowSweep.load(tmp_path / "mlflow.json") == secret
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:geheim99@elsewhere/mlflow")
    assert MlflowSweep.load(tmp_path / "mlflow.json").uri == "http://127.0.0.1:9/mlflow"


def test_password_is_not_in_error_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:geheim99@elsewhere/mlflow")
    config = parse_config({"runs_dir": str(tmp_path)}).model_copy(update={"tracking": TrackingConfig()})
    with pytest.raises(TrackingError) as caught:
        create_sweep_run("unit", config, {}, tmp_path / "config.yaml")
    assert "elsewhere" in str(caught.value)
    assert "geheim99" not in str(caught.value)


def test_damaged_database_raises_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / "broken.db").write_text("this is no database, and longer than a header of SQLite's would be " * 9)
    config = parse_config({"runs_dir": str(tmp_path), "tracking": {"uri": f"sqlite:///{tmp_path}/broken.db"}})
    with pytest.raises(
        TrackingError, match="^MLflow at sqlite:.*broken.db refuses the run: .*; check the add"
    ) as caught:
        create_sweep_run("unit", config, {}, tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_deleted_experiment_is_refused_until_it_is_restored(
    config: SweepConfig, sweep: MlflowSweep, client: MlflowClient
) -> None:
    runs_dir = Path(config.runs_dir)
    assert check_accepts_sweep(config.tracking, runs_dir) == runs_dir / "mlflow-artifacts"
    client.delete_experiment(sweep.experiment_id)
    try:
        restore = f"restore it by MLFLOW_TRACKING_URI={sweep.uri} python -m mlflow experiments restore -x "
        with pytest.raises(TrackingError, match=f"^the MLflow experiment 'unit' was deleted: {restore}") as caught:
            check_accepts_sweep(config.tracking, runs_dir)
        assert "\n" not in str(caught.value)
    finally:
        client.restore_experiment(sweep.experiment_id)
    check_accepts_sweep(config.tracking, runs_dir)


def test_database_is_not_created_by_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert check_accepts_sweep(TrackingConfig(), tmp_path) == tmp_path / "mlflow-artifacts"
    (tmp_path / "mlflow.db").touch()
    check_accepts_sweep(TrackingConfig(), tmp_path)
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("mlflow.db", 0)]


def test_damaged_database_is_refused_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_text("this is no database, and longer than a header of SQLite's would be " * 9)
    with pytest.raises(TrackingError, match="^MLflow at sqlite:.*broken.db refuses the run: ") as caught:
        check_accepts_sweep(TrackingConfig(uri=f"sqlite:///{tmp_path}/broken.db"), tmp_path)
    assert "\n" not in str(caught.value)


def test_database_is_created_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    limit = 300_000
    code = (
        "import resource, signal, sys; from tuning.tracking.server import create_database; "
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2); "
        "create_database(sys.argv[1])"
    )
    uri = f"sqlite:///{quote(str(tmp_path))}/a%20b.db"
    done = subprocess.run([sys.executable, "-c", code, uri], cwd=PROJECT, capture_output=True, text=True)
    assert "OperationalError" in done.stderr
    assert list(tmp_path.iterdir()) == []
    create_database(uri)
    assert [file.name for file in tmp_path.iterdir()] == ["a b.db"]
    assert (tmp_path / "a b.db").stat().st_size > limit
    assert MlflowClient(tracking_uri=uri).get_experiment_by_name("Default") is not None
