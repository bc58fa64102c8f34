"""A small sweep with early stopping: its run folder, report, champion, and the commands on it."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.dataset.splits import read_split
from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import TuningHere, Workplace, table
from tuning.search.leaderboard import COLUMNS
from tuning.training.checkpoint import Manifest, read_manifest


def test_stopped_trials_free_their_slots(asha_run: tuple[Path, str]) -> None:
    run, _ = asha_run
    results = table(run).set_index("id")
    entries = [json.loads(line) for line in (run / "mlflow.jsonl").read_text().splitlines()]
    started = [entry["trial"] for entry in entries if entry["what"] == "trial started"]
    assert sorted(started) == sorted(results.index)
    statuses = results.loc[started, "status"].tolist()
    assert set(statuses) == {"done", "stopped"}
    # One trial runs at a time: those after a stopped one started in the slot that it freed.
    assert "stopped" in statuses[:-1]
    assert (results.loc[results["status"] == "done", "epochs"] == 12).all()
    assert results.loc[results["status"] == "stopped", "epochs"].between(2, 11).all()


def test_leaderboard_has_every_trial_best_first(asha_run: tuple[Path, str]) -> None:
    results = table(asha_run[0])
    assert tuple(results.columns) == COLUMNS
    assert len(results) == 4
    assert results["val_macro_f1"].is_monotonic_decreasing


def test_run_folder_is_complete(asha_run: tuple[Path, str]) -> None:
    run, _ = asha_run
    assert {"config.yaml", "split.csv", "results.csv", "defects.csv", "best", "test"} <= set(os.listdir(run))
    assert not list(run.parent.glob(".*")), "no temporary folder is left"
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


def test_report_is_one_page_with_the_numbers_of_its_plots(asha_run: tuple[Path, str]) -> None:
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


def test_report_command_writes_the_same_page_without_using_the_test(
    asha_run: tuple[Path, str], tuning_here: TuningHere
) -> None:
    run = asha_run[0]
    before, uses = (run / "report/index.html").read_bytes(), (run / "test_log.jsonl").read_bytes()
    assert succeeded(tuning_here("report", "--run", "runs/asha")).stdout == "report in runs/asha/report/index.html\n"
    assert (run / "report/index.html").read_bytes() == before
    assert (run / "test_log.jsonl").read_bytes() == uses


def test_report_of_a_copied_project_is_the_same_and_the_original_is_unchanged(
    asha_run: tuple[Path, str], place: Workplace, tmp_path: Path
) -> None:
    run = asha_run[0]
    shutil.copytree(place.folder, tmp_path / "copy")
    # In processes of their own: MLflow remembers where the artifacts of a run id are.
    copy = Workplace(tmp_path / "copy", place.clips)
    before = {file: file.stat().st_mtime_ns for file in place.folder.rglob("*")}
    done = succeeded(copy.tuning("report", "--run", "runs/asha")).stdout
    assert "python -m tuning relocate --runs" in done
    assert (copy.folder / "runs/asha/report/index.html").read_bytes() == (run / "report/index.html").read_bytes()
    succeeded(copy.tuning("relocate"))
    assert succeeded(copy.tuning("report", "--run", "asha")).stdout == "report in runs/asha/report/index.html\n"
    assert {file: file.stat().st_mtime_ns for file in place.folder.rglob("*")} == before


def test_resume_of_an_ended_sweep_does_nothing(asha_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run = asha_run[0]
    uses = (run / "test_log.jsonl").read_bytes()
    output = succeeded(tuning_here("sweep", "--resume", "asha")).stdout
    assert output.startswith("asha has ended: report in runs/asha/report; nothing was done\n")
    assert (run / "test_log.jsonl").read_bytes() == uses


def test_uses_of_the_test_split_are_logged(asha_run: tuple[Path, str]) -> None:
    run = asha_run[0]
    uses = [json.loads(line) for line in (run / "test_log.jsonl").read_text().splitlines()]
    assert [use["purpose"] for use in uses][:2] == ["champion", "frame order"]
    assert uses[0]["checkpoint_sha256"] == read_manifest(run / "best").model_sha256
    assert uses[1]["checkpoint_sha256"] != uses[0]["checkpoint_sha256"]


def test_groups_never_cross_splits(asha_run: tuple[Path, str]) -> None:
    rows = pd.read_csv(asha_run[0] / "split.csv")
    assert (rows.groupby("group")["split"].nunique() == 1).all()
    assert (rows.groupby("label")["split"].nunique() == 3).all()


def test_champion_is_the_best_trial_by_validation(asha_run: tuple[Path, str]) -> None:
    run, _ = asha_run
    best = table(run).iloc[0]
    manifest = read_manifest(run / "best")
    assert manifest.trial.arch == best["arch"]
    assert manifest.trial.lr == best["lr"]
    assert manifest.epoch == best["best_epoch"]
    assert manifest.metrics["val_macro_f1"] == pytest.approx(best["val_macro_f1"])


def test_the_two_best_checkpoints_and_the_last_are_kept(asha_run: tuple[Path, str]) -> None:
    run, _ = asha_run
    for _, row in table(run).iterrows():
        kept = [read_manifest(path) for path in (run / "ray/trials" / row["id"]).glob("checkpoint_*/")]
        scores = {epoch: each["val_macro_f1"] for epoch, each in enumerate(max(kept, key=_epoch).history, 1)}
        # Of equals the newest.
        best = sorted(scores, key=lambda epoch: (scores[epoch], epoch))[-2:]
        expected, found = {*best, row["epochs"]}, set(map(_epoch, kept))
        # A trial that is stopped between writing a checkpoint and deleting another keeps one more.
        assert found == expected or (row["status"] == "stopped" and found > expected and len(found - expected) == 1)
        assert row["best_epoch"] == best[-1]


def _epoch(manifest: Manifest) -> int:
    return manifest.epoch


def test_output_ends_with_the_next_commands(asha_run: tuple[Path, str]) -> None:
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


def test_evaluate_is_reproducible(asha_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run, _ = asha_run
    before = {name: (run / "test" / name).read_bytes() for name in ("metrics.json", "predictions.csv")}
    done = succeeded(tuning_here("evaluate", "--run", "runs/asha"))
    assert "test accuracy" in done.stdout
    assert {name: (run / "test" / name).read_bytes() for name in before} == before


def test_predict_agrees_with_the_test_report_and_names_unreadable_files(
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


def test_checkpoint_of_another_split_is_refused(asha_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run, _ = asha_run
    whole = (run / "split.csv").read_text()
    rows = pd.read_csv(run / "split.csv", dtype=str)
    rows.loc[rows["group"] == rows["group"].iloc[0], "group"] = "renamed"
    try:
        rows.to_csv(run / "split.csv", index=False)
        results = [tuning_here(command, "--run", "runs/asha") for command in ("evaluate", "report")]
    finally:
        (run / "split.csv").write_text(whole)
    for done in results:
        assert done.returncode == 2
        assert "was trained on split" in done.stderr
        assert len(done.stderr.splitlines()) == 1
