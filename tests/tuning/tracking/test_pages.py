"""What people find in MLflow's pages of a sweep that went all its way."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from mlflow import MlflowClient

from data.dataset.splits import read_split
from data.intervals import wilson_interval
from tests.helpers.registered_models import CHOICE, finished_run
from tests.helpers.trial_results import trial_result
from tuning.config.run_folder import RunFolder
from tuning.evaluation.evaluate import evaluate_run
from tuning.tracking.events import METRICS
from tuning.tracking.mlflow_writer import Tracking, Writer, reporting
from tuning.tracking.model_card import LONGEST, model_card
from tuning.tracking.system_metrics import machine_watched

OTHER = CHOICE | {"lr": 0.05, "sampler": "imbalanced"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = finished_run(tmp_path_factory.mktemp("place"))
    epoch = dict.fromkeys(METRICS, 0.5)
    with reporting(run) as report:
        journal = report.journal
        journal.open_sweep()
        with machine_watched(journal.see_machine, interval=0.05):
            for trial, choice in {"a": CHOICE, "b": OTHER, "c": CHOICE | {"seed": 7}}.items():
                journal.start_trial(trial, choice)
            journal.end_trials([replace(trial_result(trial, 0.5), history=(epoch,)) for trial in "abc"])
        journal.choose_champion("a", "exercises")
        evaluate_run(run, progress=False)
        journal.report_test()
        (run.path / "report").mkdir()
        (run.path / "report/index.html").write_text("<p>all of it</p>")
        journal.report_page()
        journal.end_sweep("FINISHED")
        assert report.send(patience=0) == ""
        assert report.writer.promotion == "champion, the first"
    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tracking(run: RunFolder) -> Tracking:
    return Tracking.load(run.tracking)


@pytest.fixture(scope="module")
def client(tracking: Tracking) -> MlflowClient:
    return MlflowClient(tracking.uri, tracking.uri)


def paths(client: MlflowClient, run_id: str) -> set[str]:
    found = set()
    for item in client.list_artifacts(run_id):
        found |= {inner.path for inner in client.list_artifacts(run_id, item.path)} if item.is_dir else {item.path}
    return found


def test_runs_are_found_by_what_they_tried(tracking: Tracking, client: MlflowClient) -> None:
    def names(query: str) -> set[str | None]:
        return {found.info.run_name for found in client.search_runs([tracking.experiment_id], query)}

    assert names("tags.sampler = 'imbalanced'") == {"c3d · imbalanced · 8f · lr 0.05"}
    assert names("tags.stage = 'final'") == {"c3d · balanced · 8f · lr 3e-4 · seed 7"}
    assert len(names("tags.sweep = 'run-0' and tags.status = 'done' and tags.arch = 'c3d'")) == 3
    assert names("tags.num_frames = '8' and tags.weights = 'none' and tags.champion = 'true'") == {
        "c3d · balanced · 8f · lr 3e-4"
    }


def test_sweep_and_trials_name_their_clips(run: RunFolder, tracking: Tracking, client: MlflowClient) -> None:
    sha256 = read_split(run.split).sha256
    for each in (tracking.parent_run_id, tracking.trial_runs("b")[0].info.run_id):
        (found,) = client.get_run(each).inputs.dataset_inputs
        assert (found.dataset.name, found.dataset.digest) == ("clips", sha256[:12])
        profile = json.loads(found.dataset.profile)
        assert profile == {"classes": 3, "test_clips": 6, "train_clips": 3, "split_sha256": sha256}


def test_files_lie_in_folders_of_their_kind(tracking: Tracking, client: MlflowClient) -> None:
    tests = {f"test/{name}" for name in ("metrics.json", "predictions.csv", "frame_order.csv", "confusion_matrix.png")}
    everywhere = tests | {"split/split.csv", "report/index.html"}
    assert everywhere | {"config.yaml"} <= paths(client, tracking.parent_run_id)
    champion = paths(client, tracking.trial_runs("a")[0].info.run_id)
    assert everywhere | {"checkpoint/model.pt", "checkpoint/checkpoint.json"} <= champion
    assert paths(client, tracking.trial_runs("b")[0].info.run_id) == set()


def test_the_version_has_a_model_card(run: RunFolder, client: MlflowClient) -> None:
    version = client.get_model_version_by_alias("exercises", "champion")
    card, metrics = version.description, json.loads((run.test / "metrics.json").read_text())
    assert card == model_card(run, "models:/exercises/1")
    assert f"| test       | 6       | {metrics['accuracy']:.3f}" in card
    assert "| validation | 3       | 0.600" in card
    low, _ = wilson_interval(3, 3)
    assert f"{low:.2f} to 1.00" in card, "validation, all right in each of three recordings"
    assert "Clips: 3 train, 3 val, 6 test; from 12 recordings." in card
    assert "the 6 recordings" in card
    assert "| squat   | 1       | 1     | 2      |" in card
    assert 'load_model("models:/exercises/1")' in card
    assert float(version.tags["test_macro_f1"]) == metrics["macro_f1"]
    assert version.tags["split_sha256"] == read_split(run.split).sha256


def test_a_card_of_many_classes_is_as_long_as_databases_take(run: RunFolder, tmp_path: Path) -> None:
    longer = RunFolder(tmp_path / "run")
    longer.path.mkdir()
    longer.test.symlink_to(run.test)
    longer.split.write_text(run.split.read_text())
    manifest = json.loads((run.best / "checkpoint.json").read_text())
    manifest["classes"] += [f"class {number} {'x' * 200}" for number in range(40)]
    longer.best.mkdir()
    for file in run.best.iterdir():
        (longer.best / file.name).symlink_to(file)
    (longer.best / "checkpoint.json").unlink()
    (longer.best / "checkpoint.json").write_text(json.dumps(manifest))
    card = model_card(longer, "models:/exercises/1")
    assert len(card) <= LONGEST
    assert "`split/split.csv` of the run lists the clips" in card
    assert card.endswith("whom you trust with these.")


def test_the_run_table_has_a_saved_view_and_the_sweep_a_leaderboard(tracking: Tracking, client: MlflowClient) -> None:
    tags = client.get_experiment(tracking.experiment_id).tags
    view = json.loads(tags["mlflow.sharedViewState.leaderboard"])
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    assert state["orderByKey"] == "metrics.`best_val_macro_f1`"
    assert {"params.`lr`", "metrics.`test_macro_f1`", "tags.`status`"} <= set(state["selectedColumns"])
    query = state["searchFilter"]
    assert len(client.search_runs([tracking.experiment_id], query)) == 3, "of three trials and their sweep"
    assert "runs?viewStateShareKey=leaderboard&" in tags["mlflow.note.content"]
    note = client.get_run(tracking.parent_run_id).data.tags["mlflow.note.content"].splitlines()
    assert len(note) == 5
    assert "[c3d · balanced · 8f · lr 3e-4]" in note[2]
    assert "| champion" in note[2]


def test_the_sweeps_machine_is_seen(tracking: Tracking, client: MlflowClient) -> None:
    seen = client.get_metric_history(tracking.parent_run_id, "system/system_memory_usage_percentage")
    assert seen
    assert all(0 < point.value < 100 for point in seen)
    disk = client.get_metric_history(tracking.parent_run_id, "system/disk_available_megabytes")
    assert disk[-1].value == pytest.approx(psutil.disk_usage("/").free / 1e6, rel=0.5)


def test_what_is_sent_twice_is_there_once(run: RunFolder, tracking: Tracking, client: MlflowClient) -> None:
    def state() -> object:
        trials = [tracking.trial_runs(trial) for trial in "abc"]
        machine = client.get_metric_history(tracking.parent_run_id, "system/cpu_utilization_percentage")
        model = client.get_registered_model("exercises")
        versions = client.search_model_versions("name = 'exercises'")
        return [
            [(len(runs), dict(runs[0].data.tags), len(runs[0].inputs.dataset_inputs)) for runs in trials],
            [(point.step, point.value) for point in machine],
            model.aliases,
            [(version.version, version.tags, version.description) for version in versions],
        ]

    before = state()
    with reporting(run) as report:
        again = Writer(tracking, run)
        for line, _ in report.journal.spool.lines():
            again.write(line)
    assert state() == before
