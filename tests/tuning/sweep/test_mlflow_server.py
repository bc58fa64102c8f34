"""A sweep of two workers per trial whose MLflow server is killed; it leaks no secret."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType

from tests.helpers.processes import LIMIT_SECONDS
from tests.helpers.servers import mlflow_server
from tests.helpers.sweep_runs import Workplace, table
from tuning.training.epoch_metrics import EPOCH_METRICS

pytestmark = pytest.mark.slow


SECRETS = ("aws-5up3r-53cr37", "aws-5e5510n", "geheim-99", "t0k3n-77")

# None of these may keep the sweep from its server on this machine, or lead its runs and models elsewhere.
OF_OTHER_PROGRAMS = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
    "no_proxy": "",
    "MLFLOW_RUN_ID": "0" * 32,
    "MLFLOW_EXPERIMENT_ID": "999",
    "MLFLOW_EXPERIMENT_NAME": "another",
    "MLFLOW_REGISTRY_URI": "sqlite:///nowhere/registry.db",
}


def test_sweep_survives_the_death_of_its_mlflow_server(place: Workplace, ray_address: str, tmp_path: Path) -> None:
    arguments = ["space.lr={low: 1e-4, high: 1e-2}", "search.algorithm=optuna", "search.trials=2", "train.epochs=4"]
    # A busy machine may take longer than usual to start the server again.
    arguments.append(f"tracking.patience={LIMIT_SECONDS}")
    workers = ["resources.workers=2", "resources.cpus=1", "train.batch_size=4"]
    command = place.sweep_command("served", f"--address={ray_address}", *arguments, *workers)
    run = place.folder / "runs/served"
    with mlflow_server(f"sqlite:///{tmp_path}/served.db", tmp_path / "kept") as server:
        login = server.uri.replace("://", f"://anna:{SECRETS[2]}@")
        environment = {
            "AWS_SECRET_ACCESS_KEY": SECRETS[0],
            "AWS_SESSION_TOKEN": SECRETS[1],
            "MLFLOW_TRACKING_URI": login,
            "MLFLOW_TRACKING_TOKEN": SECRETS[3],
            **OF_OTHER_PROGRAMS,
        }
        with place.start(["nice", "-n", "5", *command], **environment) as sweep:
            sweep.wait_for(lambda: len(trials_with_epochs(run)) == 1, "an epoch of the first trial")
            server.stop(signal.SIGKILL)
            sweep.wait_for(lambda: len(trials_with_epochs(run)) == 2, "an epoch of the second trial")
            server.start()
            output = sweep.finish()
        assert "each trial takes 2 worker(s) of 1 CPU" in output
        assert "2 trials, 1 concurrently" in output
        assert "View run" not in output
        assert f"note: MLflow at {server.uri} is unavailable; the run continues" in output
        assert "are not sent to MLflow" not in output
        assert f"browse     {server.uri}" in output
        results = table(run)
        assert list(results["status"]) == ["done", "done"]
        assert results["lr"].nunique() == 2
        assert results["lr"].between(1e-4, 1e-2).all()
        served = MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
        version = served.get_model_version_by_alias("test", "champion")
        assert served.get_run(version.run_id).data.tags["trial_id"] == results["id"][0]
        names = {item.path for item in served.list_artifacts(version.run_id)}
        assert {"checkpoint", "split", "test"} <= names
        for trial in results["id"]:
            points = child_metrics(served, run, trial)
            steps = {key: [point.step for point in points[key]] for key in EPOCH_METRICS}
            assert all(each == [1, 2, 3, 4] for each in steps.values()), steps
    assert_holds_none_of([*SECRETS, os.environ["RAY_AUTH_TOKEN"]], [run, tmp_path], output)


def trials_with_epochs(run: Path) -> set[str]:
    """Ids of the trials that have reported an epoch."""
    lines = (run / "mlflow.jsonl").read_text().splitlines(keepends=True) if (run / "mlflow.jsonl").exists() else []
    # The last line may be half written.
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return {entry["trial"] for entry in entries if entry["what"] == "epoch done"}


def child_metrics(served: MlflowClient, run: Path, trial: str) -> dict[str, list[Metric]]:
    """Every metric of a trial's child run, of which there is one, as it was logged."""
    tracking = json.loads((run / "mlflow.json").read_text())
    found = served.search_runs(
        [tracking["experiment_id"]],
        f"tags.trial_id = '{trial}' and tags.mlflow.parentRunId = '{tracking['parent_run_id']}'",
        ViewType.ALL,
    )
    assert len(found) == 1, "one child run a trial"
    return {key: served.get_metric_history(found[0].info.run_id, key) for key in found[0].data.metrics}


def assert_holds_none_of(secrets: list[str], folders: list[Path], output: str) -> None:
    """No file's name or bytes, and nothing that was printed."""
    for secret in secrets:
        assert secret not in output
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 20
    for file in files:
        content = file.read_bytes() + str(file).encode()
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, f"{file} holds {found}"
