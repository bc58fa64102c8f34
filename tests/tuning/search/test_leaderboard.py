from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.trial_results import CHOICE, trial_result
from tuning.cli.tables import finals_table, leaderboard_table
from tuning.config.schema.space import AXES
from tuning.search.leaderboard import (
    COLUMNS,
    INTERVAL_COLUMNS,
    NoChampionError,
    best_choices,
    rank_finalists,
    rank_trials,
    select_champion,
    write_leaderboard,
)
from tuning.search.trial_result import TrialResult
from tuning.training.bootstrap import Interval, ScoreIntervals


def test_champion_has_the_best_score_of_the_usable_trials() -> None:
    rows = [
        trial_result("a", 0.5),
        trial_result("b", 0.9, "diverged"),
        trial_result("c", 0.7, "stopped"),
        trial_result("d", 0.7),
    ]
    assert select_champion(rows, "val_macro_f1").id == "c"
    assert [row.id for row in rank_trials(rows, "val_macro_f1")] == ["b", "c", "d", "a"]


def test_missing_champion_is_reported_with_the_number_of_trials_by_status() -> None:
    rows = [
        trial_result("a", math.nan, "error", ""),
        trial_result("b", 0.1, "diverged"),
        trial_result("c", 0.1, "diverged"),
    ]
    with pytest.raises(NoChampionError, match="^no trial has a usable model: 2 diverged, 1 error$"):
        select_champion(rows, "val_macro_f1")
    with pytest.raises(NoChampionError, match="1 unfinished; the sweep has not finished: resume it"):
        select_champion([trial_result("a", math.nan, "unfinished", "")], "val_macro_f1")


def test_csv_and_table_have_a_row_for_every_trial(tmp_path: Path) -> None:
    good = replace(trial_result("b", 0.25), intervals=ScoreIntervals(Interval(0.1, 0.5), Interval(0.125, 0.375)))
    failed = replace(trial_result("a", math.nan, "error", ""), best_epoch=0, reason="no memory")
    rows = rank_trials([failed, good], "val_macro_f1")
    write_leaderboard(rows, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as stream:
        read = list(csv.DictReader(stream))
    assert tuple(read[0]) == COLUMNS
    assert [row["id"] for row in read] == ["b", "a"]
    assert {axis: read[0][axis] for axis in CHOICE} == {axis: str(value) for axis, value in CHOICE.items()}
    assert [read[0][name] for name in ("val_macro_f1", *INTERVAL_COLUMNS)] == ["0.25", "0.1", "0.5", "0.125", "0.375"]
    assert (read[1]["val_accuracy_low"], read[1]["reason"]) == ("", "no memory")
    table = leaderboard_table(rows)
    assert "0.10 to 0.50" in table
    assert "0.12 to 0.38" in table
    assert "0.250" in table
    assert "error" in table


def test_csv_columns_have_the_names_and_order_that_other_programs_read() -> None:
    assert (
        *("id", "arch", "weights", "sampler", "loss", "lr", "num_frames", "selection", "seed", "stage", "epochs"),
        *("val_accuracy", "val_macro_f1", "seconds", "status", "best_epoch", "reason"),
        *("val_accuracy_low", "val_accuracy_high", "val_macro_f1_low", "val_macro_f1_high"),
    ) == COLUMNS


def final(name: str, lr: float, seed: int, score: float, status: str = "done") -> TrialResult:
    return trial_result(name, score, status, seed=seed, lr=lr)


def test_finalist_with_the_best_mean_wins_and_its_median_trial_is_the_champion() -> None:
    lucky = [final(f"a{seed}", 0.1, seed, f1) for seed, f1 in enumerate((0.95, 0.5, 0.5), 1)]
    steady = [final(f"b{seed}", 0.01, seed, f1) for seed, f1 in enumerate((0.7, 0.8, 0.75), 1)]
    search = [trial_result("s", 0.99)]
    assert select_champion(search + lucky + steady, "val_macro_f1", seeds=3).id == "b3"
    first, second = rank_finalists(search + lucky + steady, "val_macro_f1", 3)
    assert (first.mean, first.worst, first.best) == (pytest.approx(0.75), 0.7, 0.8)
    assert first.std == pytest.approx(0.05)
    assert second.mean == pytest.approx(0.65)
    table = finals_table([first, second], "val_macro_f1")
    assert "0.750" in table
    assert "0.01" in table


def test_finalist_with_a_failed_trial_cannot_win() -> None:
    rows = [final("a1", 0.1, 1, 0.9), final("a2", 0.1, 2, 0.0, "diverged"), final("b1", 0.2, 1, 0.4)]
    message = "no finalist has a usable model for each of its 2 seeds: 1 diverged, 2 done"
    with pytest.raises(NoChampionError, match=message):
        select_champion(rows, "val_macro_f1", seeds=2)
    assert select_champion([*rows, final("b2", 0.2, 2, 0.3)], "val_macro_f1", seeds=2).id == "b2"


def test_best_choices_are_different_and_of_usable_trials() -> None:
    rows = [
        trial_result("a", 0.9),
        trial_result("b", 0.8, lr=0.5),
        trial_result("c", 0.85),
        trial_result("d", 0.7, lr=0.2),
        trial_result("e", 0.99, "diverged", lr=0.3),
    ]
    assert [choice["lr"] for choice in best_choices(rows, "val_macro_f1", 2)] == [1e-3, 0.5]


def test_axes_of_training_have_their_own_columns(tmp_path: Path) -> None:
    extra = {"train.mixup": 0.2, "train.ema": None}
    row = trial_result("a", 0.5, **extra)
    write_leaderboard([row], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as stream:
        (read,) = csv.DictReader(stream)
    index = list(read).index(AXES[-1])
    assert list(read)[index + 1 : index + 3] == ["train.mixup", "train.ema"]
    assert [column for column in read if column not in extra] == list(COLUMNS)
    assert (read["train.mixup"], read["train.ema"]) == ("0.2", "")
    assert best_choices([row], "val_macro_f1", 1) == [CHOICE | extra]
    header = leaderboard_table([row]).splitlines()[0].split()
    assert header[header.index("frames") + 1 :][:2] == ["mixup", "ema"]
