"""What MLflow's pages show of a finished sweep."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from data.dataset.splits import read_split
from data.intervals import wilson_interval
from tests.helpers.registered_models import CHOICE, finished_run
from tests.helpers.small_models import one_thread
from tests.helpers.trial_results import trial_result
from tuning.config.run_folder import RunFolder
from tuning.evaluation.evaluate import evaluate_run
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.mlflow_writer import MlflowWriter
from tuning.tracking.model_card import MAX_CHARS, model_card
from tuning.tracking.system_metrics import sample_system_metrics
from tuning.tracking.tracker import open_tracker
from tuning.training.epoch_metrics import EPOCH_METRICS
from tuning.training.evaluation_metrics import METRICS_FILE, EvaluationMetrics

OTHER = CHOICE | {"lr": 0.05, "sampler": "imbalanced"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = finished_run(tmp_path_factory.mktemp("place"))
    epoch = dict.fromkeys(EPOCH_METRICS, 0.5)
    with one_thread(), open_tracker(run) as tracker:
        events = tracker.events
        events.log_sweep_opened()
        with sample_system_metrics(events.log_system_metrics, interval=0.05):
            for trial, choice in {"a": CHOICE, "b": OTHER, "c": CHOICE | {"seed": 7}}.items():
                events.log_trial_start(trial, choice)
            events.log_trial_ends([replace(trial_result(trial, 0.5), history=(epoch,)) for trial in "abc"])
        events.log_champion("a", "exercises")
        evaluate_run(run, progress=False)
        events.log_test()
        (run.path / "report").mkdir()
        (run.path / "report/index.html").write_text("<p>the report</p>")
        events.log_report()
        events.log_sweep_end("FINISHED")
        assert tracker.send(patience=0) == ""
        assert tracker.writer.promotion == "champion, the first"
    return run


@pytest.fixture(scope="module")
def sweep(run: RunFolder) -> MlflowSweep:
    return MlflowSweep.load(run.tracking)


@pytest.fixture(scope="module")
def client(sweep: MlflowSweep) -> MlflowClient:
    return MlflowClient(sweep.uri, sweep.uri)


def paths(client: MlflowClient, run_id: str) -> set[str]:
    found = set()
    for item in client.list_artifacts(run_id):
        found |= {inner.path for inner in client.list_artifacts(run_id, item.path)} if item.is_dir else {item.path}
    return found


def test_trials_are_found_by_their_settings(sweep: MlflowSweep, client: MlflowClient) -> None:
    def names(query: str) -> set[str | None]:
        return {found.info.run_name for found in client.search_runs([sweep.experiment_id], query)}

    assert names("tags.sampler = 'imbalanced'") == {"c3d · imbalanced · 8f · lr 0.05"}
    assert names("tags.stage = 'final'") == {"c3d · balanced · 8f · lr 3e-4 · seed 7"}
    assert len(names("tags.sweep = 'run-0' and tags.status = 'done' and tags.arch = 'c3d'")) == 3
    assert names("tags.num_frames = '8' and tags.weights = 'none' and tags.champion = 'true'") == {
        "c3d · balanced · 8f · lr 3e-4"
    }


def test_sweep_and_trials_have_the_dataset(run: RunFolder, sweep: MlflowSweep, client: MlflowClient) -> None:
    sha256 = read_split(run.split).sha256
    for each in (sweep.parent_run_id, sweep.find_trial_runs("b")[0].info.run_id):
        (found,) = client.get_run(each).inputs.dataset_inputs
        assert (found.dataset.name, found.dataset.digest) == ("clips", sha256[:12])
        profile = json.loads(found.dataset.profile)
        assert profile == {"classes": 3, "test_clips": 6, "train_clips": 3, "split_sha256": sha256}


def test_artifacts_are_in_folders_by_kind(sweep: MlflowSweep, client: MlflowClient) -> None:
    tests = {f"test/{name}" for name in ("metrics.json", "predictions.csv", "frame_order.csv", "confusion_matrix.png")}
    everywhere = tests | {"split/split.csv", "report/index.html"}
    assert everywhere | {"config.yaml"} <= paths(client, sweep.parent_run_id)
    champion = paths(client, sweep.find_trial_runs("a")[0].info.run_id)
    assert everywhere | {"checkpoint/model.pt", "checkpoint/checkpoint.json"} <= champion
    assert paths(client, sweep.find_trial_runs("b")[0].info.run_id) == set()


def read_test_metrics(run: RunFolder) -> EvaluationMetrics:
    return EvaluationMetrics.load(run.test / METRICS_FILE)


def test_registered_version_has_a_model_card(run: RunFolder, client: MlflowClient) -> None:
    version = client.get_model_version_by_alias("exercises", "champion")
    card, metrics = version.description, json.loads((run.test / "metrics.json").read_text())
    assert card == model_card(run, read_test_metrics(run), "models:/exercises/1")
    assert f"| test       | 6       | {metrics['accuracy']:.3f}" in card
    assert "| validation | 3       | 0.600" in card
    low, _ = wilson_interval(3, 3)
    assert f"{low:.2f} to 1.00" in card, "validation: all correct in each of three groups"
    assert "Clips: 3 train, 3 val, 6 test; from 12 groups" in card
    assert "the 6 groups that the test clips" in card
    assert "| squat   | 1       | 1     | 2      |" in card
    assert 'load_model("models:/exercises/1")' in card
    assert float(version.tags["test_macro_f1"]) == metrics["macro_f1"]
    assert version.tags["split_sha256"] == read_split(run.split).sha256


def test_model_card_of_many_classes_is_shortened(run: RunFolder, tmp_path: Path) -> None:
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
    card = model_card(longer, read_test_metrics(longer), "models:/exercises/1")
    assert len(card) <= MAX_CHARS
    assert "`split/split.csv` of the run lists the clips" in card
    assert card.endswith("whom you trust with these files.")


def test_experiment_has_a_saved_view_and_the_sweep_a_leaderboard(sweep: MlflowSweep, client: MlflowClient) -> None:
    tags = client.get_experiment(sweep.experiment_id).tags
    view = json.loads(tags["mlflow.sharedViewState.leaderboard"])
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    assert state["orderByKey"] == "metrics.`best_val_macro_f1`"
    assert {"params.`lr`", "metrics.`test_macro_f1`", "tags.`status`"} <= set(state["selectedColumns"])
    query = state["searchFilter"]
    assert len(client.search_runs([sweep.experiment_id], query)) == 3, "three trials, not their parent"
    assert "runs?viewStateShareKey=leaderboard&" in tags["mlflow.note.content"]
    note = client.get_run(sweep.parent_run_id).data.tags["mlflow.note.content"].splitlines()
    assert len(note) == 5
    assert "[c3d · balanced · 8f · lr 3e-4]" in note[2]
    assert "| champion" in note[2]


def test_system_metrics_are_logged(sweep: MlflowSweep, client: MlflowClient) -> None:
    seen = client.get_metric_history(sweep.parent_run_id, "system/system_memory_usage_percentage")
    assert seen
    assert all(0 < point.value < 100 for point in seen)
    disk = client.get_metric_history(sweep.parent_run_id, "system/disk_available_megabytes")
    assert disk[-1].value == pytest.approx(psutil.disk_usage("/").free / 1e6, rel=0.5)


def test_events_sent_twice_change_nothing(run: RunFolder, sweep: MlflowSweep, client: MlflowClient) -> None:
    def state() -> object:
        trials = [sweep.find_trial_runs(trial) for trial in "abc"]
        machine = client.get_metric_history(sweep.parent_run_id, "system/cpu_utilization_percentage")
        model = client.get_registered_model("exercises")
        versions = client.search_model_versions("name = 'exercises'")
        return [
            [(len(runs), dict(runs[0].data.tags), len(runs[0].inputs.dataset_inputs)) for runs in trials],
            [(point.step, point.value) for point in machine],
            model.aliases,
            [(version.version, version.tags, version.description) for version in versions],
        ]

    before = state()
    with open_tracker(run) as tracker:
        again = MlflowWriter(sweep, run)
        for line, _ in tracker.events.outbox.lines():
            again.write(line)
    assert state() == before
