from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.training.test_checkpoint import MANIFEST_VALUES
from tuning.cli.tables import finals_table, leaderboard_table
from tuning.config.load import parse_config
from tuning.config.sweep_config import SweepConfig
from tuning.search.leaderboard import (
    COLUMNS,
    INTERVAL_COLUMNS,
    NoChampion,
    TrialResult,
    best_choices,
    champion,
    finalists,
    rank,
    summarise_trial,
    write_results,
)
from tuning.training.bootstrap import Interval, ScoreIntervals
from tuning.training.checkpoint import Manifest

CHOICE = {
    "arch": "c3d",
    "weights": "none",
    "sampler": "balanced",
    "loss": "plain",
    "lr": 0.001,
    "num_frames": 16,
    "selection": "uniform",
}


@pytest.fixture(scope="module")
def sweep() -> SweepConfig:
    return parse_config({"train": {"epochs": 4}})


def checkpoint(*f1: float) -> Manifest:
    """As a trial writes it after as many epochs as there are figures."""
    history = tuple(
        {"val_macro_f1": value, "val_accuracy": value / 2, "seconds": 10.0 * number}
        for number, value in enumerate(f1, 1)
    )
    return MANIFEST_VALUES.model_copy(update={"history": history})


def report(epoch: int, status: str = "running") -> dict[str, Any]:
    return {"epoch": epoch, "status": status, "seconds": 10.0 * epoch}


def test_a_trial_is_as_good_as_its_best_checkpoint(sweep: SweepConfig) -> None:
    kept = {Path("/last"): checkpoint(0.3, 0.8, 0.1), Path("/best"): checkpoint(0.3, 0.8)}
    row = summarise_trial("a", CHOICE, "TERMINATED", report(3), kept, sweep)
    assert (row.best_epoch, row.val_macro_f1, row.val_accuracy) == (2, 0.8, 0.4)
    assert (row.checkpoint, row.epochs, row.seconds, row.status) == ("/best", 3, 30.0, "stopped")


def test_a_trial_is_as_far_as_its_last_checkpoint_though_its_report_was_lost(sweep: SweepConfig) -> None:
    kept = {Path("/last"): checkpoint(0.1, 0.2, 0.3, 0.4)}
    row = summarise_trial("a", CHOICE, "TERMINATED", report(3), kept, sweep)
    assert (row.epochs, row.seconds, row.status, len(row.history)) == (4, 40.0, "done", 4)


def test_of_equal_checkpoints_the_newest_counts(sweep: SweepConfig) -> None:
    kept = {Path("/new"): checkpoint(0.8, 0.8, 0.8), Path("/old"): checkpoint(0.8, 0.8)}
    assert summarise_trial("a", CHOICE, "TERMINATED", report(3), kept, sweep).best_epoch == 3


@pytest.mark.parametrize(
    ("tune_status", "last", "expected"),
    [
        ("TERMINATED", report(4), "done"),
        ("TERMINATED", report(2), "stopped"),
        ("TERMINATED", report(2, "diverged"), "diverged"),
        ("TERMINATED", report(0, "error"), "error"),
        ("ERROR", report(2), "error"),
        ("RUNNING", report(2), "unfinished"),
        ("PENDING", None, "unfinished"),
    ],
)
def test_status(tune_status: str, last: dict[str, Any] | None, expected: str, sweep: SweepConfig) -> None:
    assert summarise_trial("a", CHOICE, tune_status, last, {}, sweep).status == expected


def test_a_failure_is_told_in_a_line(sweep: SweepConfig) -> None:
    reported = report(0, "error") | {"reason": "no memory"}
    assert summarise_trial("a", CHOICE, "TERMINATED", reported, {}, sweep).reason == "no memory"
    error = "Failure # 1\nTraceback (most recent call last):\nRuntimeError: no memory\n\n"
    assert summarise_trial("a", CHOICE, "ERROR", None, {}, sweep, error).reason == "RuntimeError: no memory"
    assert summarise_trial("a", CHOICE, "TERMINATED", report(4), {}, sweep, error).reason == ""


def test_a_trial_without_a_checkpoint_has_no_score(sweep: SweepConfig) -> None:
    row = summarise_trial("a", CHOICE, "TERMINATED", report(1, "diverged"), {}, sweep)
    assert math.isnan(row.val_macro_f1)
    assert (row.best_epoch, row.checkpoint) == (0, "")


def result(trial: str, f1: float, status: str = "done", checkpoint: str = "/somewhere") -> TrialResult:
    return TrialResult(trial, *CHOICE.values(), 0, "search", 4, f1, f1, 1.0, status, 3, checkpoint)


def test_the_champion_is_best_by_validation_among_trials_in_good_order() -> None:
    rows = [result("a", 0.5), result("b", 0.9, "diverged"), result("c", 0.7, "stopped"), result("d", 0.7)]
    assert champion(rows, "val_macro_f1").id == "c"
    assert [row.id for row in rank(rows, "val_macro_f1")] == ["b", "c", "d", "a"]


def test_no_champion_says_what_the_trials_came_to() -> None:
    rows = [result("a", math.nan, "error", ""), result("b", 0.1, "diverged"), result("c", 0.1, "diverged")]
    with pytest.raises(NoChampion, match="^no trial ended with a usable model: 2 diverged, 1 error$"):
        champion(rows, "val_macro_f1")


def test_results_csv_and_leaderboard_name_every_trial(tmp_path: Path) -> None:
    good = replace(result("b", 0.25), intervals=ScoreIntervals(Interval(0.1, 0.5), Interval(0.125, 0.375)))
    rows = rank([replace(result("a", math.nan, "error", ""), best_epoch=0), good], "val_macro_f1")
    write_results(rows, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as stream:
        read = list(csv.DictReader(stream))
    assert tuple(read[0]) == COLUMNS
    assert [row["id"] for row in read] == ["b", "a"]
    assert [read[0][name] for name in ("val_macro_f1", *INTERVAL_COLUMNS)] == ["0.25", "0.1", "0.5", "0.125", "0.375"]
    assert read[1]["val_accuracy_low"] == ""
    table = leaderboard_table(rows)
    assert "0.10 to 0.50" in table
    assert "0.12 to 0.38" in table
    assert "0.250" in table
    assert "error" in table


def test_what_is_as_usual_goes_without_saying(tmp_path: Path) -> None:
    usual, other = result("a", 0.5), replace(result("b", 0.6), loss="weighted", sampler="imbalanced", selection="dense")
    assert usual.title == "c3d · balanced · 16f · lr 1e-3"
    assert other.title == "c3d · imbalanced, weighted loss · 16f dense · lr 1e-3"
    assert "uniform" not in leaderboard_table([usual])
    assert "plain" not in leaderboard_table([usual])
    both = leaderboard_table([other, usual])
    assert all(word in both for word in ("plain", "weighted", "uniform", "dense", "selection", "loss"))


def final(trial: str, lr: float, seed: int, f1: float, status: str = "done") -> TrialResult:
    return replace(result(trial, f1, status), lr=lr, seed=seed, stage="final")


def test_the_best_mean_over_seeds_wins_and_its_median_trial_is_the_champion() -> None:
    lucky = [final(f"a{seed}", 0.1, seed, f1) for seed, f1 in enumerate((0.95, 0.5, 0.5), 1)]
    steady = [final(f"b{seed}", 0.01, seed, f1) for seed, f1 in enumerate((0.7, 0.8, 0.75), 1)]
    search = [result("s", 0.99)]
    assert champion(search + lucky + steady, "val_macro_f1", seeds=3).id == "b3"
    first, second = finalists(search + lucky + steady, "val_macro_f1", 3)
    assert (first.mean, first.worst, first.best) == (pytest.approx(0.75), 0.7, 0.8)
    assert first.deviation == pytest.approx(0.05)
    assert second.mean == pytest.approx(0.65)
    table = finals_table([first, second], "val_macro_f1")
    assert "0.750" in table
    assert "0.01" in table


def test_a_finalist_with_a_trial_that_failed_cannot_win() -> None:
    rows = [final("a1", 0.1, 1, 0.9), final("a2", 0.1, 2, 0.0, "diverged"), final("b1", 0.2, 1, 0.4)]
    with pytest.raises(
        NoChampion, match="no finalist was trained in good order with all its 2 seeds: 1 diverged, 2 done"
    ):
        champion(rows, "val_macro_f1", seeds=2)
    assert champion([*rows, final("b2", 0.2, 2, 0.3)], "val_macro_f1", seeds=2).id == "b2"


def test_finalists_are_different_choices() -> None:
    rows = [result("a", 0.9), replace(result("b", 0.8), lr=0.5), result("c", 0.85), replace(result("d", 0.7), lr=0.2)]
    rows.append(replace(result("e", 0.99, "diverged"), lr=0.3))
    assert [choice["lr"] for choice in best_choices(rows, "val_macro_f1", 2)] == [1e-3, 0.5]


def test_axes_of_training_have_columns_of_their_own(sweep: SweepConfig, tmp_path: Path) -> None:
    further = {"train.mixup": 0.2, "train.ema": None}
    row = summarise_trial("a", CHOICE | further, "TERMINATED", report(4), {Path("/best"): checkpoint(0.5)}, sweep)
    assert row.choice == CHOICE | further
    assert row.title == "c3d · balanced · 16f · lr 1e-3 · mixup 0.2 · ema null"
    write_results([row], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as stream:
        (read,) = csv.DictReader(stream)
    place = list(read).index("selection")
    assert list(read)[place + 1 : place + 3] == ["train.mixup", "train.ema"]
    assert [column for column in read if column not in further] == list(COLUMNS)
    assert (read["train.mixup"], read["train.ema"]) == ("0.2", "")
    assert best_choices([row], "val_macro_f1", 1) == [CHOICE | further]
    header = leaderboard_table([row]).splitlines()[0].split()
    assert header[header.index("frames") + 1 :][:2] == ["mixup", "ema"]
