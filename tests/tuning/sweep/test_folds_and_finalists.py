"""A sweep with found groups, folds, several losses, test views and finalists."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from data.dataset.splits import read_split
from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import TuningHere, Workplace, client, table
from tuning.training.checkpoint import read_manifest

pytestmark = pytest.mark.slow


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


def test_finalists_are_retrained_with_other_seeds_and_yield_the_champion(
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


def test_found_groups_are_saved_with_the_run(folds_run: tuple[Path, str]) -> None:
    run, output = folds_run
    groups = pd.read_csv(run / "groups.csv").set_index("path")["group"]
    split = pd.read_csv(run / "split.csv").set_index("path")
    assert (groups.loc[split.index] == split["group"]).all()
    assert (split.groupby("group")["split"].nunique() == 1).all()
    assert "groups.csv" in output


def test_scores_over_several_views_are_reported_too(folds_run: tuple[Path, str], tuning_here: TuningHere) -> None:
    run, output = folds_run
    metrics = json.loads((run / "test/metrics.json").read_text())
    averaged = metrics["averaged"]
    assert (averaged["views"], averaged["crops"]) == (3, 3)
    line = f"over 3 views x 3 crops accuracy {averaged['accuracy']:.3f}, macro-F1 {averaged['macro_f1']:.3f}"
    assert line in output
    assert f"test {line}" in succeeded(tuning_here("evaluate", "--run", "runs/folds")).stdout
    assert json.loads((run / "test/metrics.json").read_text()) == metrics
