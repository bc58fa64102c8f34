"""The runs, the registered model and the UI that a small sweep leaves in MLflow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from data.dataset.splits import read_split
from tests.helpers.processes import LIMIT_SECONDS, succeeded
from tests.helpers.servers import wait_for_server
from tests.helpers.sweep_runs import Workplace, client, table
from tuning.ports import find_free_port
from tuning.tracking.mlflow_sweep import MlflowSweep

pytestmark = pytest.mark.slow


def test_mlflow_has_a_parent_run_and_one_child_per_trial(asha_run: tuple[Path, str], place: Workplace) -> None:
    run, _ = asha_run
    mlflow_client = client(place)
    experiment = mlflow_client.get_experiment_by_name("test")
    runs = mlflow_client.search_runs([experiment.experiment_id], "attributes.run_name != ''", max_results=100)
    parent = next(r for r in runs if r.info.run_name == "asha")
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    results = table(run).set_index("id")
    assert parent.info.status == "FINISHED"
    assert parent.data.params["split_sha256"] == read_split(run / "split.csv").sha256
    assert {child.data.tags["trial_id"] for child in children} == set(results.index)
    for child in children:
        row = results.loc[child.data.tags["trial_id"]]
        assert child.info.status == "FINISHED"
        assert child.data.tags["status"] == row["status"]
        assert child.data.params["arch"] == row["arch"]
        history = mlflow_client.get_metric_history(child.info.run_id, "val_macro_f1")
        assert [point.step for point in history] == list(range(1, row["epochs"] + 1))
        assert max(point.value for point in history) == pytest.approx(row["val_macro_f1"])


def registered(mlflow_client: MlflowClient, run: Path) -> ModelVersion:
    """The version that a sweep's champion was registered as."""
    tracking = MlflowSweep.load(run / "mlflow.json")
    trial = mlflow_client.get_run(tracking.parent_run_id).data.tags["champion_trial"]
    run_id = tracking.find_trial_runs(trial)[0].info.run_id
    return mlflow_client.search_model_versions(f"run_id = '{run_id}'")[0]


def test_champions_run_has_its_artifacts_and_test_scores(asha_run: tuple[Path, str], place: Workplace) -> None:
    run, _ = asha_run
    mlflow_client = client(place)
    version = registered(mlflow_client, run)
    assert version.tags["promotion"].startswith(("champion", "kept as candidate"))
    assert "## Not tested on" in version.description
    champion = mlflow_client.get_run(version.run_id)
    assert champion.data.tags["trial_id"] == table(run).iloc[0]["id"]
    names = {item.path for item in mlflow_client.list_artifacts(version.run_id)}
    assert {"checkpoint", "split", "test"} <= names
    metrics = json.loads((run / "test/metrics.json").read_text())
    assert champion.data.metrics["test_accuracy"] == pytest.approx(metrics["accuracy"])
    tests = {item.path for item in mlflow_client.list_artifacts(version.run_id, "test")}
    assert tests == {f"test/{file.name}" for file in (run / "test").iterdir()}


REGISTERED = """
import json
import sys
import mlflow.pyfunc
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
print(json.dumps(model.predict({"clip": sys.argv[3:]})["probability"].tolist()))
assert "models" not in sys.modules and "tuning" not in sys.modules and "data" not in sys.modules
"""


def test_registered_model_agrees_with_the_test_report(
    asha_run: tuple[Path, str], place: Workplace, tmp_path: Path
) -> None:
    """In a process that has none of this project's code."""
    run, _ = asha_run
    version = registered(client(place), run)
    paths = [clip.path for clip in read_split(run / "split.csv").clips("test")]
    address = f"models:/test/{version.version}"
    done = subprocess.run(
        [sys.executable, "-c", REGISTERED, client(place).tracking_uri, address, *(str(place.clips / p) for p in paths)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    succeeded(done)
    written = pd.read_csv(run / "test/predictions.csv").set_index("clip").loc[paths, "probability"]
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), written, atol=1e-5)


def test_ui_command_serves_the_runs(asha_run: tuple[Path, str], place: Workplace) -> None:
    port = find_free_port()
    pages = subprocess.Popen(
        [sys.executable, "-m", "tuning", "ui", f"--port={port}"],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_server(f"http://127.0.0.1:{port}", pages)
        served = MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
        assert served.get_experiment_by_name("test") is not None
        pages.terminate()
        pages.wait(timeout=LIMIT_SECONDS)
        assert not answers(port), "the signal reaches MLflow's own processes"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pages.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    """Whether somebody still does, seconds later."""
    for _ in range(50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return False
        time.sleep(0.2)
    return True
