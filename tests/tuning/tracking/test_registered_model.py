"""The registered model in a process without this project predicts what the tested champion predicts."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from tests.helpers.awkward_names import AWKWARD_FOLDER
from tests.helpers.processes import LIMIT_SECONDS, wait_for
from tests.helpers.registered_models import (
    CLASSES,
    champion_probabilities,
    clip_files,
    finished_run,
    register,
    run_without_project,
)
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.video_files import truncate
from tuning.config.run_folder import RunFolder
from tuning.export.graph import inference_settings
from tuning.export.pyfunc import ClipClassifier
from tuning.ports import find_free_port
from tuning.tracking.local_database import local_path
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.relocate import relocate
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import read_manifest

__all__ = ["one_seed_one_thread"]

SCRIPT = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
tables = {}
for uri in json.loads(sys.argv[2]):
    model = mlflow.pyfunc.load_model(uri)
    found = [model.predict(clips, params=params) for clips, params in json.loads(sys.argv[3])]
    tables[uri] = [json.loads(table.to_json(orient="split", double_precision=15)) for table in found]
print(json.dumps(tables))
"""
"""Several versions in one process, each with its own copy of the code."""

URIS = {"one": "models:/exercises/1", "folds": "models:/exercises/2", "bf16": "models:/exercises@candidate"}
TOLERANCE = {"one": 1e-5, "folds": 1e-5, "bf16": 5e-3}
"""Largest accepted difference of a probability."""


# For the session: the slow test runs after the tests of other files.
@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Runs whose champions are registered and not tested: in fp32 with one fold and with two, and in bf16."""
    folder = tmp_path_factory.mktemp("place") / AWKWARD_FOLDER
    runs = {
        "one": finished_run(folder, seed=1, database="runs/mlflow.db"),
        "folds": finished_run(folder, seed=2, folds=2, database="runs/mlflow.db"),
        "bf16": finished_run(folder, seed=3, precision="bf16", database="runs/mlflow.db"),
    }
    assert [register(run) for run in runs.values()] == ["1", "2", "3"]
    return runs


@dataclass(frozen=True, slots=True)
class Tables:
    """What a registered model returns, as JSON."""

    paths: dict[str, Any]
    urls: dict[str, Any]
    contents: dict[str, Any]
    unreadable: dict[str, Any]
    records: dict[str, Any]
    top_two: dict[str, Any]
    abstaining: dict[str, Any]


@pytest.fixture(scope="module")
def all_tables(runs: dict[str, RunFolder], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tables]:
    """The output of the models in a process without this project."""
    run = runs["one"]
    files = clip_files(run)
    paths = [str(file) for file in files]
    contents = [base64.b64encode(file.read_bytes()).decode() for file in files]
    broken = truncate(files[0], 0.02)
    some_unreadable = [paths[0], str(broken), "nowhere.mp4", paths[3], "", str(files[0].parent), "no clip"]
    calls = [
        [{"clip": paths}, None],
        [{"clip": [file.as_uri() for file in files]}, None],
        [{"clip": contents}, None],
        [{"clip": some_unreadable}, None],
        [[{"clip": path} for path in paths], None],
        [{"clip": paths}, {"top_k": 2, "abstain": False}],
        [{"clip": paths}, {"abstain": True}],
    ]
    folder, uri = tmp_path_factory.mktemp("elsewhere"), MlflowSweep.load(run.tracking).uri
    found = run_without_project(folder, SCRIPT, uri, json.dumps(list(URIS.values())), json.dumps(calls))
    return {name: Tables(*found[uri]) for name, uri in URIS.items()}


@pytest.fixture(params=URIS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(name: str, runs: dict[str, RunFolder]) -> RunFolder:
    return runs[name]


@pytest.fixture
def tables(name: str, all_tables: dict[str, Tables]) -> Tables:
    return all_tables[name]


def test_registered_model_predicts_what_the_champion_predicts(name: str, run: RunFolder, tables: Tables) -> None:
    expected = champion_probabilities(run)
    columns = ["label", "probability", "dip", "label (class)", "squat", "error", "defects"]
    for table in (tables.paths, tables.urls, tables.contents, tables.records):
        assert table["columns"] == columns
        assert {row[-2] for row in table["data"]} == {""}
        assert {row[-1] for row in table["data"]} == {"too short"}, "the clips last less than half a second"
        found = torch.tensor([row[2:5] for row in table["data"]])
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[name])
        assert [row[0] for row in table["data"]] == [CLASSES[int(i)] for i in expected.argmax(1)]
        assert [row[1] for row in table["data"]] == [max(row[2:5]) for row in table["data"]]
    assert len({tuple(row[2:5]) for row in tables.paths["data"]}) == 6, "the clips differ"


def test_unreadable_clip_leaves_the_other_predictions_unchanged(name: str, run: RunFolder, tables: Tables) -> None:
    rows = tables.unreadable["data"]
    found = torch.tensor([rows[0][2:5], rows[3][2:5]])
    torch.testing.assert_close(found, champion_probabilities(run)[[0, 3]], rtol=0, atol=TOLERANCE[name])
    for index in (1, 2, 4, 5, 6):
        assert rows[index][:5] == ["", None, None, None, None]
    assert "FFmpeg can't read it" in rows[1][-2]
    errors = [rows[index][-2] for index in (2, 4, 5, 6)]
    assert errors == ["no such file", "no clip is given", "it is a folder; give video files", "no such file"]


def test_top_k_and_abstain(run: RunFolder, tables: Tables) -> None:
    columns = ["label", "probability", "label_1", "probability_1", "label_2", "probability_2"]
    assert tables.top_two["columns"] == [*columns, "error", "defects"]
    threshold = Calibration.load(run.best).threshold
    rows = zip(tables.paths["data"], tables.top_two["data"], tables.abstaining["data"], strict=True)
    for row, short, careful in rows:
        ranked = sorted(zip(row[2:5], CLASSES, strict=True), reverse=True)
        assert short[2:6] == [ranked[0][1], ranked[0][0], ranked[1][1], ranked[1][0]]
        assert careful == ["" if row[1] < threshold else row[0], *row[1:]]
    assert sum(row[0] == "" for row in tables.abstaining["data"]) == 3, "the threshold divides these clips"


def test_model_files_contain_renamed_code_and_no_pickle(runs: dict[str, RunFolder]) -> None:
    client = MlflowClient(MlflowSweep.load(runs["one"].tracking).uri)
    version = client.get_model_version("exercises", "1")
    folder = local_path(client.get_logged_model(version.source.removeprefix("models:/")).artifact_location)
    assert folder is not None
    requirements = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()}
    assert requirements == {"mlflow", "torch", "torchvision", "av", "numpy", "pandas", "pillow"}
    (package,) = [path for path in (folder / "code").iterdir() if path.name != "__pycache__"]
    assert package.name.startswith("clip_labeller_")
    sources = list(package.rglob("*.py"))
    assert package / "data/video/decode.py" in sources
    for file in sources:
        for name in ("data", "models", "tuning"):
            assert f"from {name}." not in file.read_text()
            assert f"from {name} " not in file.read_text()
    assert not [file for file in folder.rglob("*") if file.suffix in (".pkl", ".pth")]


def test_invalid_top_k_raises(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    best = runs["one"].best
    settings = {**inference_settings(read_manifest(best), Calibration.load(best)), "limits": {}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    torch.export.save(torch.export.export(torch.nn.Identity(), (torch.zeros(1),)), tmp_path / "network.pt2")
    with pytest.raises(ValueError, match=r"^top_k must be 0 \(all classes\) to 3, not 4$"):
        ClipClassifier(tmp_path).predict({"clip": "x.mp4"}, {"top_k": 4})


@pytest.fixture
def invocations(runs: dict[str, RunFolder], tmp_path: Path) -> Iterator[str]:
    """The address of `mlflow models serve`, started in another folder."""
    port = find_free_port()
    arguments = ["-m", URIS["one"], "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # MLflow starts `uvicorn` by its name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["MLFLOW_TRACKING_URI"] = MlflowSweep.load(runs["one"].tracking).uri
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *arguments],
            cwd=tmp_path,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def responds() -> bool:
        assert server.poll() is None, (tmp_path / "log").read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
        except OSError:
            return False
        return True

    try:
        wait_for(responds, "the model server responds")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=LIMIT_SECONDS)


def post(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())["predictions"]


@pytest.mark.slow
def test_model_served_by_mlflow_predicts_what_the_champion_predicts(
    runs: dict[str, RunFolder], invocations: str
) -> None:
    run = runs["one"]
    files = clip_files(run)
    content = base64.b64encode(files[1].read_bytes()).decode()
    clips = [str(files[0]), content, files[2].as_uri(), "nowhere.mp4"]
    expected = champion_probabilities(run)[:3]
    bodies: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": ["clip"], "data": [[clip] for clip in clips]}},
        {"dataframe_records": [{"clip": clip} for clip in clips]},
        {"inputs": {"clip": clips}},
    ]
    for body in bodies:
        rows = post(invocations, body)
        found = torch.tensor([[row["dip"], row["label (class)"], row["squat"]] for row in rows[:3]])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert (rows[3]["label"], rows[3]["probability"], rows[3]["error"]) == ("", None, "no such file")
    best = post(invocations, {"inputs": {"clip": clips[:1]}, "params": {"top_k": 1, "abstain": True}})
    assert best[0]["label_1"] == CLASSES[int(expected[0].argmax())]


def test_model_of_a_copied_project_is_loaded_from_the_copy(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    run, copy = runs["one"], tmp_path / "a copy"
    shutil.copytree(run.path.parents[1], copy)
    relocate(copy / "runs")
    mlflow.set_tracking_uri(f"sqlite:///{copy}/runs/mlflow.db")
    try:
        stored = mlflow.artifacts.download_artifacts("models:/exercises/1")
        model = mlflow.pyfunc.load_model("models:/exercises/1")
    finally:
        mlflow.set_tracking_uri(None)
    assert stored.startswith(f"{copy}/runs/mlflow-artifacts/")
    answers = model.predict({"clip": [str(file) for file in clip_files(run)]})
    expected = champion_probabilities(run).max(1).values
    assert torch.allclose(torch.tensor(answers["probability"].tolist()), expected, atol=TOLERANCE["one"])
