"""The registered model where this project is not: its answers are those of the champion that was tested."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from tests.helpers.registered_models import CHOICE, CLASSES, answers_here, clips_of, elsewhere, finished_run
from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.video_files import truncate
from tuning.config.run_folder import RunFolder
from tuning.export.graph import describe
from tuning.export.pyfunc import ClipLabeller
from tuning.ports import find_free_port
from tuning.tracking.mlflow_writer import Tracking, reporting
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import read_manifest

__all__ = ["one_seed_one_thread"]

SCRIPT = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/exercises@candidate")
asked = json.loads(sys.argv[2])
told = [model.predict(each, params=params) for each, params in asked]
print(json.dumps([json.loads(table.to_json(orient="split", double_precision=15)) for table in told]))
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["one", "folds"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Its champion is registered and not yet tested."""
    place = tmp_path_factory.mktemp("place")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = finished_run(place, folds=request.param, seed=1)
    with reporting(run) as report:
        report.journal.start_trial("best", CHOICE)
        report.journal.choose_champion("best", "exercises")
        assert report.send(patience=0) == ""
    torch.set_num_threads(threads)
    return run


@dataclass(frozen=True, slots=True)
class Answers:
    """Tables, as MLflow gives them in a process that has not this project."""

    paths: dict[str, Any]
    urls: dict[str, Any]
    contents: dict[str, Any]
    faults: dict[str, Any]
    records: dict[str, Any]
    best: dict[str, Any]
    unsure: dict[str, Any]


@pytest.fixture(scope="module")
def answers(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    files = clips_of(run)
    paths = [str(file) for file in files]
    contents = [base64.b64encode(file.read_bytes()).decode() for file in files]
    broken = truncate(files[0], 0.02)
    with_faults = [paths[0], str(broken), "nowhere.mp4", paths[3], "", str(files[0].parent), "no clip"]
    asked = [
        [{"clip": paths}, None],
        [{"clip": [file.as_uri() for file in files]}, None],
        [{"clip": contents}, None],
        [{"clip": with_faults}, None],
        [[{"clip": path} for path in paths], None],
        [{"clip": paths}, {"top_k": 2, "abstain": False}],
        [{"clip": paths}, {"abstain": True}],
    ]
    place, uri = tmp_path_factory.mktemp("elsewhere"), Tracking.load(run.tracking).uri
    return Answers(*elsewhere(place, SCRIPT, uri, json.dumps(asked)))


def test_it_answers_elsewhere_as_the_champion_does_here(run: RunFolder, answers: Answers) -> None:
    wanted = answers_here(run)
    columns = ["label", "probability", "dip", "label (class)", "squat", "error"]
    for table in (answers.paths, answers.urls, answers.contents, answers.records):
        assert table["columns"] == columns
        assert {row[-1] for row in table["data"]} == {""}
        found = torch.tensor([row[2:5] for row in table["data"]])
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        assert [row[0] for row in table["data"]] == [CLASSES[int(i)] for i in wanted.argmax(1)]
        assert [row[1] for row in table["data"]] == [max(row[2:5]) for row in table["data"]]
    assert len({tuple(row[2:5]) for row in answers.paths["data"]}) == 6, "each clip has its own answer"


def test_a_clip_that_cannot_be_read_leaves_the_others_their_answers(run: RunFolder, answers: Answers) -> None:
    rows = answers.faults["data"]
    found = torch.tensor([rows[0][2:5], rows[3][2:5]])
    torch.testing.assert_close(found, answers_here(run)[[0, 3]], rtol=0, atol=1e-5)
    for place in (1, 2, 4, 5, 6):
        assert rows[place][:5] == ["", None, None, None, None]
    assert "FFmpeg can't read it" in rows[1][-1]
    errors = [rows[place][-1] for place in (2, 4, 5, 6)]
    assert errors == ["no such file", "no clip is given", "it is a folder: give video files", "no such file"]


def test_the_best_classes_alone_and_no_label_where_it_is_unsure(run: RunFolder, answers: Answers) -> None:
    best, columns = answers.best, ["label", "probability", "label_1", "probability_1", "label_2", "probability_2"]
    assert best["columns"] == [*columns, "error"]
    threshold = Calibration.load(run.best).threshold
    rows = zip(answers.paths["data"], best["data"], answers.unsure["data"], strict=True)
    for row, short, careful in rows:
        ranked = sorted(zip(row[2:5], CLASSES, strict=True), reverse=True)
        assert short[2:6] == [ranked[0][1], ranked[0][0], ranked[1][1], ranked[1][0]]
        assert careful == ["" if row[1] < threshold else row[0], *row[1:]]
    assert sum(row[0] == "" for row in answers.unsure["data"]) == 3, "the threshold parts these clips"


def test_its_files_name_what_it_needs_and_nothing_else(run: RunFolder) -> None:
    client = MlflowClient(Tracking.load(run.tracking).uri)
    version = client.get_model_version_by_alias("exercises", "candidate")
    folder = Path(client.get_logged_model(version.source.removeprefix("models:/")).artifact_location[7:])
    requirements = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()}
    assert requirements == {"mlflow", "torch", "torchvision", "av", "numpy", "pandas"}
    carried = next((folder / "code").iterdir())
    assert carried.name.startswith("clip_labeller_")
    for file in carried.iterdir():
        for ours in ("data", "models", "tuning"):
            assert f"from {ours}." not in file.read_text()
    assert not [file for file in folder.rglob("*") if file.suffix in (".pkl", ".pth")]


def test_an_argument_that_cannot_be_met_is_named(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(describe(read_manifest(run.best), Calibration.load(run.best))))
    torch.export.save(torch.export.export(torch.nn.Identity(), (torch.zeros(1),)), tmp_path / "network.pt2")
    with pytest.raises(ValueError, match=r"^top_k must be 0 \(all classes\) to 3, not 4$"):
        ClipLabeller(tmp_path).predict({"clip": "x.mp4"}, {"top_k": 4})


@pytest.fixture
def served(run: RunFolder, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve`, from another folder."""
    port = find_free_port()
    address = ["-m", "models:/exercises@candidate", "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # MLflow starts `uvicorn` by its name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *address],
            cwd=tmp_path,
            env={**environment, "MLFLOW_TRACKING_URI": Tracking.load(run.tracking).uri, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def post(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["predictions"]


@pytest.mark.slow
@pytest.mark.parametrize("run", [1], ids=["one"], indirect=True)
def test_it_is_served_as_mlflow_serves_models(run: RunFolder, served: str) -> None:
    files = clips_of(run)
    content = base64.b64encode(files[1].read_bytes()).decode()
    asked = [str(files[0]), content, files[2].as_uri(), "nowhere.mp4"]
    wanted = answers_here(run)[:3]
    bodies: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": ["clip"], "data": [[clip] for clip in asked]}},
        {"dataframe_records": [{"clip": clip} for clip in asked]},
        {"inputs": {"clip": asked}},
    ]
    for body in bodies:
        rows = post(served, body)
        found = torch.tensor([[row["dip"], row["label (class)"], row["squat"]] for row in rows[:3]])
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        assert (rows[3]["label"], rows[3]["probability"], rows[3]["error"]) == ("", None, "no such file")
    best = post(served, {"inputs": {"clip": asked[:1]}, "params": {"top_k": 1, "abstain": True}})
    assert best[0]["label_1"] == CLASSES[int(wanted[0].argmax())]
