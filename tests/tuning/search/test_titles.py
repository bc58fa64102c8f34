from __future__ import annotations

from tests.helpers.trial_results import CHOICE, trial_result
from tuning.cli.tables import leaderboard_table
from tuning.search.titles import table_axes, trial_title


def test_usual_values_are_left_out_of_titles_and_tables() -> None:
    usual = trial_result("a", 0.5)
    other = trial_result("b", 0.6, loss="weighted", sampler="imbalanced", selection="dense")
    assert usual.title == "c3d · balanced · 16f · lr 1e-3"
    assert other.title == "c3d · imbalanced, weighted loss · 16f dense · lr 1e-3"
    assert "uniform" not in leaderboard_table([usual])
    assert "plain" not in leaderboard_table([usual])
    both = leaderboard_table([other, usual])
    assert all(word in both for word in ("plain", "weighted", "uniform", "dense", "selection", "loss"))


def test_title_ends_with_settings_of_training_and_options_that_vary() -> None:
    extra = {"train.mixup": 0.2, "train.ema": None, "model.temporal": "lstm", "model.hidden": None}
    assert trial_title(CHOICE | extra) == "c3d · balanced · 16f · lr 1e-3 · mixup 0.2 · ema null · temporal lstm"


def test_title_of_a_finalist_has_its_seed() -> None:
    assert trial_result("a", 0.5, seed=7).title == "c3d · balanced · 16f · lr 1e-3 · seed 7"


def test_title_has_the_last_two_parts_of_a_weights_path() -> None:
    assert trial_title(CHOICE | {"weights": "/runs/first/best"}).startswith("c3d (first/best) · ")
    assert trial_title(CHOICE | {"weights": "imagenet", "lr": 0.05}) == "c3d (imagenet) · balanced · 16f · lr 0.05"


def test_axes_with_one_usual_value_have_no_column_unless_they_vary() -> None:
    assert table_axes([CHOICE]) == ["arch", "sampler", "lr", "num_frames"]
    assert table_axes([CHOICE, CHOICE | {"weights": "imagenet"}]) == ["arch", "weights", "sampler", "lr", "num_frames"]


def test_missing_axis_counts_as_usual() -> None:
    older = {axis: value for axis, value in CHOICE.items() if axis != "selection"}
    assert table_axes([older]) == table_axes([CHOICE])
    assert table_axes([older, CHOICE | {"selection": "dense"}])[-1] == "selection"
