from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.checkpoints import MANIFEST
from tests.helpers.trial_results import CHOICE
from tuning.cli.tables import leaderboard_table
from tuning.config.load import parse_config
from tuning.config.sweep_config import SweepConfig
from tuning.search.trial_result import summarise_trial
from tuning.training.checkpoint import Manifest


@pytest.fixture(scope="module")
def sweep() -> SweepConfig:
    return parse_config({"train": {"epochs": 4}})


def checkpoint(*f1: float) -> Manifest:
    """The manifest of a checkpoint with this macro-F1 at each epoch."""
    history = tuple(
        {"val_macro_f1": value, "val_accuracy": value / 2, "seconds": 10.0 * number}
        for number, value in enumerate(f1, 1)
    )
    return MANIFEST.model_copy(update={"history": history})


def report(epoch: int, status: str = "running") -> dict[str, Any]:
    return {"epoch": epoch, "status": status, "seconds": 10.0 * epoch}


def test_scores_are_those_of_the_best_checkpoint(sweep: SweepConfig) -> None:
    checkpoints = {Path("/last"): checkpoint(0.3, 0.8, 0.1), Path("/best"): checkpoint(0.3, 0.8)}
    row = summarise_trial("a", CHOICE, "TERMINATED", report(3), checkpoints, sweep)
    assert (row.best_epoch, row.val_macro_f1, row.val_accuracy) == (2, 0.8, 0.4)
    assert (row.checkpoint, row.epochs, row.seconds, row.status) == ("/best", 3, 30.0, "stopped")


def test_epochs_are_those_of_the_last_checkpoint_if_its_report_was_lost(sweep: SweepConfig) -> None:
    checkpoints = {Path("/last"): checkpoint(0.1, 0.2, 0.3, 0.4)}
    row = summarise_trial("a", CHOICE, "TERMINATED", report(3), checkpoints, sweep)
    assert (row.epochs, row.seconds, row.status, len(row.history)) == (4, 40.0, "done", 4)


def test_newest_of_equal_checkpoints_is_the_best(sweep: SweepConfig) -> None:
    checkpoints = {Path("/new"): checkpoint(0.8, 0.8, 0.8), Path("/old"): checkpoint(0.8, 0.8)}
    assert summarise_trial("a", CHOICE, "TERMINATED", report(3), checkpoints, sweep).best_epoch == 3


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


def test_reason_of_a_failure_is_one_line(sweep: SweepConfig) -> None:
    reported = report(0, "error") | {"reason": "no memory"}
    assert summarise_trial("a", CHOICE, "TERMINATED", reported, {}, sweep).reason == "no memory"
    error = "Failure # 1\nTraceback (most recent call last):\nRuntimeError: no memory\n\n"
    assert summarise_trial("a", CHOICE, "ERROR", None, {}, sweep, error).reason == "RuntimeError: no memory"
    assert summarise_trial("a", CHOICE, "TERMINATED", report(4), {}, sweep, error).reason == ""


def test_trial_without_a_checkpoint_has_no_score(sweep: SweepConfig) -> None:
    row = summarise_trial("a", CHOICE, "TERMINATED", report(1, "diverged"), {}, sweep)
    assert math.isnan(row.val_macro_f1)
    assert (row.best_epoch, row.checkpoint) == (0, "")


def test_choice_has_the_axes_of_training_and_no_seed(sweep: SweepConfig) -> None:
    extra = {"train.mixup": 0.2, "train.ema": None}
    tried = CHOICE | extra | {"seed": 7}
    row = summarise_trial("a", tried, "TERMINATED", report(4), {Path("/best"): checkpoint(0.5)}, sweep)
    assert (row.choice, row.seed, row.stage) == (CHOICE | extra, 7, "final")
    assert row.choice_with_seed == tried
    assert row.title == "c3d · balanced · 16f · lr 1e-3 · mixup 0.2 · ema null · seed 7"


def test_axis_that_is_newer_than_the_run_has_its_usual_value(sweep: SweepConfig) -> None:
    older = {axis: value for axis, value in CHOICE.items() if axis != "selection"}
    row = summarise_trial("a", older, "TERMINATED", report(4), {Path("/best"): checkpoint(0.5)}, sweep)
    assert row.choice == CHOICE
    assert row.title == "c3d · balanced · 16f · lr 1e-3"
    varied = summarise_trial("b", CHOICE | {"selection": "dense"}, "TERMINATED", report(4), {}, sweep)
    assert "uniform" in leaderboard_table([row, varied])
