from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuning.config import SweepConfig, parse_config
from tuning.report import leaderboard
from tuning.results import COLUMNS, NoChampion, TrialResult, champion, rank, summarise_trial, write_results

CHOICE = {"arch": "c3d", "sampler": "balanced", "lr": 0.001, "num_frames": 16}


@pytest.fixture(scope="module")
def sweep() -> SweepConfig:
    return parse_config({"train": {"epochs": 4}})


def epoch(number: int, f1: float, checkpoint: Path | None, status: str = "running") -> dict[str, Any]:
    return {
        "epoch": number,
        "status": status,
        "val_macro_f1": f1,
        "val_accuracy": f1 / 2,
        "seconds": 10.0 * number,
        "checkpoint_path": str(checkpoint) if checkpoint else math.nan,
    }


def test_a_trial_is_as_good_as_the_best_epoch_that_has_its_checkpoint(tmp_path: Path, sweep: SweepConfig) -> None:
    best, last, gone = tmp_path / "best", tmp_path / "last", tmp_path / "gone"
    best.mkdir()
    last.mkdir()
    rows = [epoch(1, 0.9, gone), epoch(2, 0.8, best), epoch(3, 0.1, last)]
    row = summarise_trial("a", CHOICE, "TERMINATED", rows, sweep)
    assert (row.best_epoch, row.val_macro_f1, row.val_accuracy) == (2, 0.8, 0.4)
    assert (row.checkpoint, row.epochs, row.seconds, row.status) == (str(best), 3, 30.0, "stopped")


@pytest.mark.parametrize(
    ("tune_status", "last_epoch", "last_status", "expected"),
    [
        ("TERMINATED", 4, "running", "done"),
        ("TERMINATED", 2, "running", "stopped"),
        ("TERMINATED", 2, "diverged", "diverged"),
        ("ERROR", 2, "running", "error"),
        ("RUNNING", 2, "running", "unfinished"),
        ("PENDING", None, "", "unfinished"),
    ],
)
def test_status(
    tune_status: str, last_epoch: int | None, last_status: str, expected: str, tmp_path: Path, sweep: SweepConfig
) -> None:
    rows = [epoch(last_epoch, 0.5, tmp_path, last_status)] if last_epoch else []
    assert summarise_trial("a", CHOICE, tune_status, rows, sweep).status == expected


def test_the_report_of_a_divergence_is_no_score(tmp_path: Path, sweep: SweepConfig) -> None:
    rows = [epoch(1, 0.3, tmp_path), epoch(2, 0.0, None, "diverged")]
    row = summarise_trial("a", CHOICE, "TERMINATED", rows, sweep)
    assert (row.best_epoch, row.val_macro_f1) == (1, 0.3)


def result(trial: str, f1: float, status: str = "done", checkpoint: str = "/somewhere") -> TrialResult:
    return TrialResult(trial, "c3d", "balanced", 1e-3, 16, 4, f1, f1, 1.0, status, 3, checkpoint)


def test_the_champion_is_best_by_validation_among_trials_in_good_order() -> None:
    rows = [result("a", 0.5), result("b", 0.9, "diverged"), result("c", 0.7, "stopped"), result("d", 0.7)]
    assert champion(rows, "val_macro_f1").id == "c"
    assert [row.id for row in rank(rows, "val_macro_f1")] == ["b", "c", "d", "a"]


def test_no_champion_says_what_the_trials_came_to() -> None:
    rows = [result("a", math.nan, "error", ""), result("b", 0.1, "diverged"), result("c", 0.1, "diverged")]
    with pytest.raises(NoChampion, match="^no trial ended with a usable model: 2 diverged, 1 error$"):
        champion(rows, "val_macro_f1")


def test_results_csv_and_leaderboard_name_every_trial(tmp_path: Path) -> None:
    rows = rank([replace(result("a", math.nan, "error", ""), best_epoch=0), result("b", 0.25)], "val_macro_f1")
    write_results(rows, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as stream:
        read = list(csv.DictReader(stream))
    assert tuple(read[0]) == COLUMNS
    assert [row["id"] for row in read] == ["b", "a"]
    assert read[0]["val_macro_f1"] == "0.25"
    table = leaderboard(rows)
    assert "0.250" in table
    assert "error" in table
