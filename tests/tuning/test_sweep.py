"""Whole sweeps on real Ray: early stopping, the champion's way to its test report, kills, faults."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType
from mlflow.entities.model_registry import ModelVersion

from data.dataset.splits import read_split
from tests.helpers.processes import LIMIT_SECONDS, PROJECT, succeeded
from tests.helpers.servers import mlflow_server, wait_for_server
from tests.helpers.sweep_runs import Workplace
from tuning.__main__ import main
from tuning.ports import find_free_port
from tuning.search.leaderboard import COLUMNS
from tuning.tracking.events import METRICS
from tuning.tracking.mlflow_writer import Tracking
from tuning.training.checkpoint import Manifest, read_manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, demo_clips: Path) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"), demo_clips)


@pytest.fixture(scope="module")
def asha_run(place: Workplace, ray_address: str) -> tuple[Path, str]:
    """Four trials, one at a time, with stops after the second epoch: later ones start only if stopped ones let go."""
    done = place.run(
        place.sweep_command(
            "asha",
            f"--address={ray_address}",
            "space.arch=[c3d,resnet18]",
            "space.num_frames=8",
            "space.lr=[0.001,0.00001]",
            "train.epochs=3",
            "search.asha={grace_epochs: 2, reduction_factor: 2}",
            "resources.max_concurrent=1",
        )
    )
    return place.folder / "runs/asha", succeeded(done).stdout


@pytest.fixture
def tuning_here(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python -m tuning …` in this process, which is not the one of the sweep and has imported what takes seconds."""
    monkeypatch.chdir(place.folder)
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


TuningHere = Callable[..., subprocess.CompletedProcess[str]]


def table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "results.csv")


def client(place: Workplace) -> MlflowClient:
    uri = f"sqlite:///{place.folder / 'runs/mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_stopped_trials_let_later_ones_start(asha_run: tuple[Path, str]) -> None:
    results = table(asha_run[0])
    assert tuple(results.columns) == COLUMNS
    assert len(results) == 4
    assert set(results["status"]) == {"done", "stopped"}
    assert (results["status"] == "stopped").sum() >= 1
    assert (results["epochs"] >= 1).all()
    assert results["val_macro_f1"].is_monotonic_decreasing
    assert results["val_macro_f1"].between(0, 1).all()


JOB = """
import json, sys
from tuning.cluster.address import use_token_if_required
address = sys.argv[1] or None
use_token_if_required(address)
import ray
from ray.util import placement_group_table
from tuning.cluster.connect import connected
def where():
    import os, data, models
    return os.getcwd(), data.__file__, models.__file__
with connected(address, verbose=False):
    states = [place["state"] for place in placement_group_table().values()]
    print(json.dumps([ray.get(ray.remote(where).remote()), [state for state in states if state != "REMOVED"]]))
"""


def run_job(place: Workplace, folder: Path, address: str | None) -> tuple[list[Path], list[str]]:
    """A worker's directory and the files of its `data` and `models`, and the states of what holds places.

    Packages with these names that are installed, here by PYTHONPATH, must not be taken for ours.
    """
    for name in ("data", "models"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('the wrong package')")
    done = subprocess.run(
        [sys.executable, "-c", JOB, address or ""],
        cwd=PROJECT,
        env={**place.environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    paths, held = json.loads(succeeded(done).stdout.splitlines()[-1])
    return [Path(path) for path in paths], held


@pytest.fixture(scope="module")
def later_job(
    asha_run: tuple[Path, str], place: Workplace, ray_address: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Path], list[str]]:
    """What a job sees on the cluster on which a sweep has ended."""
    return run_job(place, tmp_path_factory.mktemp("wrong"), ray_address)


def test_an_ended_sweep_leaves_nothing_held_on_its_cluster(later_job: tuple[list[Path], list[str]]) -> None:
    assert later_job[1] == []


def test_workers_on_a_cluster_import_a_copy_of_this_projects_packages(
    later_job: tuple[list[Path], list[str]],
) -> None:
    folder, *files = later_job[0]
    assert folder != PROJECT
    assert files == [folder / name / "__init__.py" for name in ("data", "models")]


def test_workers_on_this_machine_import_this_projects_packages_in_place(place: Workplace, tmp_path: Path) -> None:
    (folder, *files), _ = run_job(place, tmp_path, None)
    assert folder == PROJECT
    assert files == [PROJECT / name / "__init__.py" for name in ("data", "models")]


def test_the_run_folder_is_whole(asha_run: tuple[Path, str], place: Workplace) -> None:
    run, _ = asha_run
    assert {"config.yaml", "split.csv", "results.csv", "defects.csv", "best", "test"} <= set(os.listdir(run))
    assert not list(run.parent.glob(".*")), "nothing half-made lies beside it"
    metrics = json.loads((run / "test/metrics.json").read_text())
    split = read_split(run / "split.csv")
    assert metrics["split_sha256"] == split.sha256
    assert metrics["classes"] == list(split.classes)
    assert metrics["num_clips"] == len(split.clips("test")) == np.sum(metrics["confusion"])
    with (run / "test/predictions.csv").open() as stream:
        predictions = list(csv.DictReader(stream))
    columns = ["clip", "label", "group", "predicted", "probability", *(f"p({name})" for name in split.classes)]
    assert list(predictions[0]) == columns
    groups = {clip.path: clip.group for clip in split.clips("test")}
    assert {row["clip"]: row["group"] for row in predictions} == groups
    assert {row["clip"] for row in predictions} == {clip.path for clip in split.clips("test")}
    right = [row["label"] == row["predicted"] for row in predictions]
    assert metrics["accuracy"] == pytest.approx(np.mean(right))
    assert (run / "test/confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_is_one_page_with_the_numbers_of_its_plots(asha_run: tuple[Path, str]) -> None:
    run, output = asha_run
    page = (run / "report/index.html").read_text()
    assert "runs/asha/report/index.html" in output
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page), "nothing is fetched from elsewhere"
    for question in ("Imbalanced or balanced?", "Does time matter?", "How often was the test split used?"):
        assert question in page
    assert "This test split has been used once. 1 other model was evaluated on it" in page
    test = json.loads((run / "test/metrics.json").read_text())
    assert f"<b>{test['accuracy']:.3f}</b>test accuracy" in page
    numbers = {file.stem: pd.read_csv(file) for file in (run / "report/data").glob("*.csv")}
    embedded = dict(re.findall(r'download="([\w.]+)" href="data:text/csv;base64,([^"]+)"', page))
    assert {"leaderboard.csv", "per_class.csv", "learning_curves.csv"} <= set(embedded) <= {f"{n}.csv" for n in numbers}
    for name, text in embedded.items():
        assert base64.b64decode(text) == (run / "report/data" / name).read_bytes()
    results = table(run)
    assert numbers["leaderboard"]["trial"].tolist() == results["id"].tolist()
    assert len(numbers["learning_curves"]) == results["epochs"].sum()
    assert len(numbers["frame_order"]) == 8
    predictions = pd.read_csv(run / "test/predictions.csv")
    assert len(numbers["mistakes"]) == (predictions["label"] != predictions["predicted"]).sum()
    shares = numbers["time_shares"].set_index("of")
    assert (shares.loc[results["id"], "forward, backward"] > 0).all()
    assert re.search(r"forward and backward passes took [\d.]+ %", page)
    assert re.search(r"trial was running in [\d.]+ % of the slots", page)


def test_the_report_made_anew_is_the_same_and_does_not_use_the_test(
    asha_run: tuple[Path, str], tuning_here: TuningHere
) -> None:
    run = asha_run[0]
    before, uses = (run / "report/index.html").read_bytes(), (run / "test_log.jsonl").read_bytes()
    assert succeeded(tuning_here("report", "--run", "runs/asha")).stdout == "report in runs/asha/report/index.html\n"
    assert (run / "report/index.html").read_bytes() == before
    assert (run / "test_log.jsonl").read_bytes() == uses


def test_an_ended_sweep_is_not_gone_on_with(asha_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run = asha_run[0]
    uses = (run / "test_log.jsonl").read_bytes()
    told = succeeded(tuning_here("sweep", "--resume", "asha")).stdout
    assert told.startswith("asha has ended: report in runs/asha/report; nothing was done\n")
    assert (run / "test_log.jsonl").read_bytes() == uses


def test_each_use_of_the_test_split_is_logged_with_the_checkpoint(asha_run: tuple[Path, str]) -> None:
    run = asha_run[0]
    uses = [json.loads(line) for line in (run / "test_log.jsonl").read_text().splitlines()]
    assert [use["purpose"] for use in uses][:2] == ["champion", "frame order"]
    assert uses[0]["checkpoint_sha256"] == read_manifest(run / "best").model_sha256
    assert uses[1]["checkpoint_sha256"] != uses[0]["checkpoint_sha256"]


def test_groups_never_cross_splits(asha_run: tuple[Path, str]) -> None:
    rows = pd.read_csv(asha_run[0] / "split.csv")
    assert (rows.groupby("group")["split"].nunique() == 1).all()
    assert (rows.groupby("label")["split"].nunique() == 3).all()


def test_the_champion_is_the_best_trial_by_validation(asha_run: tuple[Path, str]) -> None:
    run, _ = asha_run
    best = table(run).iloc[0]
    manifest = read_manifest(run / "best")
    assert manifest.trial.arch == best["arch"]
    assert manifest.trial.lr == best["lr"]
    assert manifest.epoch == best["best_epoch"]
    assert manifest.metrics["val_macro_f1"] == pytest.approx(best["val_macro_f1"])


def test_only_the_two_best_checkpoints_and_the_last_are_kept(asha_run: tuple[Path, str]) -> None:
    run, _ = asha_run
    for _, row in table(run).iterrows():
        kept = [read_manifest(path) for path in (run / "ray/trials" / row["id"]).glob("checkpoint_*/")]
        scores = {epoch: each["val_macro_f1"] for epoch, each in enumerate(max(kept, key=_epoch).history, 1)}
        # Of equals the newest.
        best = sorted(scores, key=lambda epoch: (scores[epoch], epoch))[-2:]
        assert sorted(map(_epoch, kept)) == sorted({*best, row["epochs"]})
        assert row["best_epoch"] == best[-1]


def _epoch(manifest: Manifest) -> int:
    return manifest.epoch


def test_what_is_printed_ends_with_what_a_user_needs(asha_run: tuple[Path, str]) -> None:
    run, output = asha_run
    metrics = json.loads((run / "test/metrics.json").read_text())
    tail = output[output.index("\nchampion ") :]
    assert f"accuracy {metrics['accuracy']:.3f}" in tail
    assert f"macro-F1 {metrics['macro_f1']:.3f}" in tail
    assert "runs/asha/report/index.html" in tail
    assert "python -m tuning ui --runs runs" in tail.splitlines()[-1]
    assert "cluster: 1 node(s) checked" in output
    assert "trials: 4 of 4 ended" in output
    assert len(output.splitlines()) < 200


def test_mlflow_holds_one_parent_and_a_child_a_trial(asha_run: tuple[Path, str], place: Workplace) -> None:
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
    tracking = Tracking.load(run / "mlflow.json")
    trial = mlflow_client.get_run(tracking.parent_run_id).data.tags["champion_trial"]
    run_id = tracking.trial_runs(trial)[0].info.run_id
    return mlflow_client.search_model_versions(f"run_id = '{run_id}'")[0]


def test_the_champions_run_holds_all_that_belongs_to_it(asha_run: tuple[Path, str], place: Workplace) -> None:
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


def test_the_registered_model_gives_the_test_reports_answers(
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


def test_evaluate_gives_the_same_again(asha_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run, _ = asha_run
    before = {name: (run / "test" / name).read_bytes() for name in ("metrics.json", "predictions.csv")}
    done = succeeded(tuning_here("evaluate", "--run", "runs/asha"))
    assert "test accuracy" in done.stdout
    assert {name: (run / "test" / name).read_bytes() for name in before} == before


def test_predict_agrees_with_the_test_report_and_names_what_it_cannot_read(
    asha_run: tuple[Path, str], place: Workplace, tmp_path: Path
) -> None:
    run, _ = asha_run
    rows = pd.read_csv(run / "test/predictions.csv").head(2)
    clips = [str(place.clips / path) for path in rows["clip"]]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    paths = (clips[0], str(bad), clips[1])
    done = place.tuning("predict", "--run", "runs/asha", *paths, "--format=csv", "--no-abstain")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {bad}: FFmpeg can't read it")
    assert len(done.stderr.splitlines()) == 1
    printed = pd.read_csv(io.StringIO(done.stdout))
    assert list(printed["clip"]) == clips
    assert list(printed["label"]) == list(rows["predicted"])


@pytest.fixture(scope="module")
def folds_run(place: Workplace, ray_address: str) -> tuple[Path, str]:
    """What few clips call for: groups found from the pictures, three folds, both losses, several views, finalists."""
    command = place.sweep_command("folds", f"--address={ray_address}", "--folds=3")
    command[command.index("--groups") + 1] = "auto"
    axes = ["space.loss=[plain,weighted]", "space.selection=dense", "train.stride=2", "test.views=3", "test.crops=3"]
    done = place.run([*command, *axes, "search.finalists={top: 1, seeds: 2}"])
    return place.folder / "runs/folds", succeeded(done).stdout


def test_trials_are_scored_by_folds(folds_run: tuple[Path, str]) -> None:
    run, _ = folds_run
    split = read_split(run / "split.csv")
    assert split.folds == 3
    results = table(run)
    assert sorted(results[results["stage"] == "search"]["loss"]) == ["plain", "weighted"]
    assert set(results["selection"]) == {"dense"}
    scored = sum(len(r.val) for r in split.rounds())
    assert scored == len(split.rows) - len(split.clips("test"))
    # Every clip but the test's has one prediction, so the accuracy is a whole number of them.
    for accuracy in results["val_accuracy"]:
        assert accuracy * scored == pytest.approx(round(accuracy * scored), abs=1e-6)
    assert read_manifest(run / "best").folds == 3


def test_the_best_choice_is_tried_with_other_seeds_and_one_of_these_is_the_champion(
    folds_run: tuple[Path, str], place: Workplace
) -> None:
    run, output = folds_run
    results = table(run)
    best, finals = results[results["stage"] == "search"].iloc[0], results[results["stage"] == "final"]
    assert sorted(finals["seed"]) == [1, 2]
    assert set(finals["loss"]) == {best["loss"]}
    assert set(finals["epochs"]) == {2}
    assert finals["val_accuracy"].nunique() + finals["val_macro_f1"].nunique() > 2, "another seed, another model"
    champion = read_manifest(run / "best")
    assert champion.metrics["val_macro_f1"] == pytest.approx(finals["val_macro_f1"].min())
    assert champion.trial.train.seed in (1, 2)
    assert "finalists, each with 2 seeds" in output
    mlflow_client = client(place)
    experiment = mlflow_client.get_experiment_by_name("test").experiment_id
    titles = {r.info.run_name for r in mlflow_client.search_runs([experiment], "tags.status = 'done'")}
    assert any(title.endswith("· seed 2") for title in titles)


def test_groups_that_were_found_are_kept_with_the_run(folds_run: tuple[Path, str], place: Workplace) -> None:
    run, output = folds_run
    groups = pd.read_csv(run / "groups.csv").set_index("path")["group"]
    split = pd.read_csv(run / "split.csv").set_index("path")
    assert (groups.loc[split.index] == split["group"]).all()
    assert (split.groupby("group")["split"].nunique() == 1).all()
    assert "groups.csv" in output


def test_several_views_are_reported_beside_the_single_one(folds_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run, output = folds_run
    metrics = json.loads((run / "test/metrics.json").read_text())
    averaged = metrics["averaged"]
    assert (averaged["views"], averaged["crops"]) == (3, 3)
    line = f"over 3 views x 3 crops accuracy {averaged['accuracy']:.3f}, macro-F1 {averaged['macro_f1']:.3f}"
    assert line in output
    assert f"test {line}" in succeeded(tuning_here("evaluate", "--run", "runs/folds")).stdout
    assert json.loads((run / "test/metrics.json").read_text()) == metrics


def test_a_checkpoint_of_another_split_is_refused(asha_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run, _ = asha_run
    whole = (run / "split.csv").read_text()
    rows = pd.read_csv(run / "split.csv", dtype=str)
    rows.loc[rows["group"] == rows["group"].iloc[0], "group"] = "renamed"
    try:
        rows.to_csv(run / "split.csv", index=False)
        done = tuning_here("evaluate", "--run", "runs/asha")
    finally:
        (run / "split.csv").write_text(whole)
    assert done.returncode == 2
    assert "was trained on split" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def epochs(place: Workplace, run: str, trial: str) -> dict[tuple[str, int], float]:
    """Every figure that MLflow has of a trial, except times."""
    mlflow_client = client(place)
    tracking = json.loads((place.folder / "runs" / run / "mlflow.json").read_text())
    found = mlflow_client.search_runs(
        [tracking["experiment_id"]],
        f"tags.trial_id = '{trial}' and tags.mlflow.parentRunId = '{tracking['parent_run_id']}'",
    )
    assert len(found) == 1, "one child run a trial"
    keys = ("train_loss", "train_accuracy", "val_loss", "val_macro_f1", "lr")
    history = {key: mlflow_client.get_metric_history(found[0].info.run_id, key) for key in keys}
    assert all(len({point.step for point in points}) == len(points) for points in history.values()), "logged once"
    return {(key, point.step): point.value for key, points in history.items() for point in points}


def test_the_ui_command_serves_the_runs(asha_run: tuple[Path, str], place: Workplace) -> None:
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


SECRETS = ("aws-5up3r-53cr37", "aws-5e5510n", "geheim-99", "t0k3n-77")


def test_optuna_trials_of_two_workers_tracked_by_a_server_that_is_killed_in_the_middle(
    place: Workplace, ray_address: str, tmp_path: Path
) -> None:
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
        }
        with place.start(command, **environment) as sweep:
            sweep.wait_for(lambda: len(trials_with_epochs(run)) == 1, "an epoch of the first trial")
            server.stop(signal.SIGKILL)
            sweep.wait_for(lambda: len(trials_with_epochs(run)) == 2, "an epoch of the second trial")
            server.start()
            output = sweep.finish()
        assert "each trial takes 2 worker(s) of 1 CPU" in output
        assert "2 trials, 1 concurrently" in output
        assert "View run" not in output
        assert f"note: MLflow at {server.uri} is away; all goes on" in output
        assert "are not at MLflow" not in output
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
            steps = {key: [point.step for point in points[key]] for key in METRICS}
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


def test_a_sweep_without_a_usable_model_says_so(place: Workplace, ray_address: str) -> None:
    done = place.run(
        place.sweep_command(
            "hopeless",
            f"--address={ray_address}",
            "space.lr=1e30",
            "train.epochs=1",
            "train.clip_norm=null",
            "train.warmup_epochs=0",
        )
    )
    assert done.returncode == 2
    assert "error: no trial has a usable model: 1 diverged" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def beside(place: Workplace, ray_address: str) -> pd.DataFrame:
    """Three rates, one after another, on Ray of its own while another cluster runs: by rate, what became of them.

    Ray takes the cluster last started on a machine for its own where nobody names one.
    """
    done = place.run(
        place.sweep_command(
            "beside",
            "space.lr=[0.001,0.00001,1e30]",
            "train.clip_norm=null",
            "train.warmup_epochs=0",
            "search.asha={grace_epochs: 1, reduction_factor: 2}",
            "resources.max_concurrent=1",
        )
    )
    succeeded(done)
    return table(place.folder / "runs/beside").set_index("lr")


def test_early_stopping_here_while_another_cluster_runs(beside: pd.DataFrame) -> None:
    assert len(beside) == 3
    assert beside.loc[0.001, "status"] == "done"
    # On so few clips trials may tie, and of a tie none is stopped.
    assert beside.loc[0.00001, "status"] in ("done", "stopped")


def test_a_trial_that_diverges_ends_alone(beside: pd.DataFrame) -> None:
    assert dict(beside["status"] == "diverged") == {0.001: False, 0.00001: False, 1e30: True}


@pytest.fixture(scope="module")
def resumed(place: Workplace) -> tuple[Path, dict[Path, int], str]:
    """Optuna tries the one point of a space three times; in the second trial the sweep is killed, then resumed.

    Returns the run's folder, when each checkpoint was written that was there at the kill, and what was printed after.
    """
    space = ["space.arch=c3d", "space.num_frames=8", "space.sampler=balanced", "train.epochs=6"]
    search = ["search.algorithm=optuna", "search.trials=3", "resources.max_concurrent=1"]
    run = place.folder / "runs/killed"

    def trials_with_checkpoints() -> set[str]:
        return {file.parts[-3] for file in (run / "ray/trials").glob("*/checkpoint_*/checkpoint.json")}

    with place.start(place.sweep_command("killed", *space, *search)) as sweep:
        # Once the second trial has a checkpoint, the first has ended and the second is in the middle.
        sweep.wait_for(lambda: len(trials_with_checkpoints()) == 2, "a checkpoint of the second trial")
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
    before = {path: path.stat().st_mtime_ns for path in (run / "ray/trials").glob("*/*/checkpoint.json")}
    return run, before, succeeded(place.tuning("sweep", "--resume", "killed")).stdout


def test_a_killed_sweep_goes_on_and_loses_no_finished_trial(
    place: Workplace, resumed: tuple[Path, dict[Path, int], str]
) -> None:
    run, before, output = resumed
    results = table(run)
    assert len(results) == 3
    assert set(results["status"]) == {"done"}
    assert set(results["epochs"]) == {6}
    first = min(before, key=lambda path: before[path]).parent.parent.name
    untouched = [path for path in before if path.parent.parent.name == first]
    assert all(path.stat().st_mtime_ns == before[path] for path in untouched), "the finished trial was run again"
    assert re.search(r"frame store: 0 clips decoded", output)
    for trial in results["id"]:
        figures = epochs(place, "killed", trial)
        assert sorted({step for _, step in figures}) == [1, 2, 3, 4, 5, 6]
    assert (run / "test/metrics.json").is_file()


def test_the_same_seed_gives_the_same_figures_also_to_a_trial_that_was_killed(
    place: Workplace, resumed: tuple[Path, dict[Path, int], str]
) -> None:
    """Of the three one was undisturbed, one went on and one began after the kill: equal to the last figure."""
    undisturbed, *others = (epochs(place, "killed", trial) for trial in table(resumed[0])["id"])
    assert len(others) == 2
    assert all(other == undisturbed for other in others)


@pytest.fixture(scope="module")
def with_and_without_reuse(place: Workplace, ray_address: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results of the same sweep with Ray's internals and on its public API alone, by learning rate.

    One trial fits at a time. The last two train nothing, so that they are stopped early, and so that their scores are
    the same in each epoch: they may train some more epochs until the stop reaches them.
    """
    settings = [
        "space.arch=c3d",
        "models.c3d.batch_norm=false",
        "space.num_frames=8",
        "space.lr=[0.003,1e-12,2e-12]",
        "train.epochs=10",
        "search.asha={grace_epochs: 2, reduction_factor: 2}",
        "resources.cpus=2",
    ]
    results = []
    for name, reuse in (("reused", "true"), ("public", "false")):
        command = place.sweep_command(name, f"--address={ray_address}", *settings, f"resources.reuse_workers={reuse}")
        succeeded(place.run(command))
        results.append(table(place.folder / "runs" / name).set_index("lr"))
    reused, public = results
    return reused, public


def test_leaderboard_is_the_same_on_rays_public_api(
    place: Workplace, with_and_without_reuse: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    reused, public = with_and_without_reuse
    differing = ["id", "seconds", "epochs", "best_epoch"]
    pd.testing.assert_frame_equal(public.drop(columns=differing), reused.drop(columns=differing), check_exact=True)
    figures = epochs(place, "reused", reused.loc[0.003, "id"])
    assert {step for _, step in figures} == set(range(1, 11))
    assert epochs(place, "public", public.loc[0.003, "id"]) == figures


def test_trials_that_are_stopped_early_free_their_slots_on_rays_public_api(
    with_and_without_reuse: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    _, public = with_and_without_reuse
    assert public["status"].to_dict() == {0.003: "done", 1e-12: "stopped", 2e-12: "stopped"}
    assert (public["status"] == "stopped").equals(public["epochs"] < 10)
