"""Pairs of trials whose true difference is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as known_mcnemar

from tests.helpers.trial_results import CHOICE
from tests.tuning.training.test_checkpoint import MANIFEST_VALUES
from tuning.evaluation.paired import Comparison, class_counts, compare, mcnemar, rare_classes
from tuning.search.trial_result import TrialResult
from tuning.training.checkpoint import save_checkpoint
from tuning.training.learner import TrainingState
from tuning.training.metrics import score
from tuning.training.predictions import Predictions

CLASSES = ("dip", "plank", "squat")
TRAIN = {"dip": 100, "plank": 10, "squat": 100}
CLIPS = 180
LABELS = np.arange(CLIPS) % 3
GROUPS = {f"{number}": f"source {number // 6}" for number in range(CLIPS)}


class Bench:
    """Trials with answers made up for the purpose; the model in their checkpoints is of no account."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, []

    def add(
        self, sampler: str, lr: float, epochs: Sequence[np.ndarray], *, loss: str = "plain", status: str = "done"
    ) -> None:
        name = f"t{len(self.rows)}"
        folder = self.folder / name
        folder.mkdir()
        classes = len(CLASSES)
        logits = torch.nn.functional.one_hot(torch.from_numpy(epochs[-1]), classes).float()
        answers = Predictions([str(n) for n in range(CLIPS)], torch.from_numpy(LABELS), logits)
        earlier = [torch.from_numpy(each).short() for each in epochs[:-1]]
        history = tuple({"val_macro_f1": score(LABELS.tolist(), each.tolist(), CLASSES).macro_f1} for each in epochs)
        manifest = MANIFEST_VALUES.model_copy(update={"history": history, "folds": 1})
        save_checkpoint(folder, manifest, [torch.nn.Linear(1, 1)], [TrainingState({}, {}, {})], answers, earlier)
        self.rows.append(
            TrialResult(
                id=name,
                choice=CHOICE | {"sampler": sampler, "loss": loss, "lr": lr, "num_frames": 8},
                seed=0,
                stage="search",
                epochs=len(epochs),
                val_accuracy=0.0,
                val_macro_f1=0.0,
                seconds=1.0,
                status=status,
                best_epoch=len(epochs),
                checkpoint=str(folder),
                latest_checkpoint=str(folder),
                history=history,
            )
        )

    def compared(self, axis: str = "sampler", first: str = "imbalanced", second: str = "balanced") -> Comparison:
        return compare(self.rows, axis, first, second, metric="val_macro_f1", groups=GROUPS, train_clips=TRAIN)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def answers(seed: int, right: dict[int, float]) -> np.ndarray:
    """Each class's clips right with its probability, else another class."""
    random = np.random.default_rng(seed)
    correct = random.random(CLIPS) < np.array([right[label] for label in LABELS])
    return np.where(correct, LABELS, (LABELS + random.integers(1, 3, CLIPS)) % 3)


EVEN = {0: 0.7, 1: 0.7, 2: 0.7}
RARE_LOST = {0: 0.8, 1: 0.1, 2: 0.8}


def test_says_that_balanced_is_better_where_it_is(bench: Bench) -> None:
    for seed, lr in enumerate((0.1, 0.01, 0.001, 0.0001)):
        bench.add("imbalanced", lr, [answers(seed, RARE_LOST)])
        bench.add("balanced", lr, [answers(seed + 10, {0: 0.8, 1: 0.8, 2: 0.8})])
    found = bench.compared()
    assert found.rare == ("plank",)
    assert found.macro_f1 is not None
    assert found.rare_recall is not None
    assert found.macro_f1.excludes_zero
    assert found.rare_recall.interval.contains(0.7)
    assert found.sentence.startswith("Balanced is better by 0.")
    assert "over 4 pairs of trials; recall of the rare classes +0.7" in found.sentence
    assert found.sentence.endswith("from 30 recordings.")


def test_says_that_imbalanced_is_better_where_it_is(bench: Bench) -> None:
    for seed, lr in enumerate((0.1, 0.01, 0.001, 0.0001)):
        bench.add("imbalanced", lr, [answers(seed, {0: 0.9, 1: 0.9, 2: 0.9})])
        bench.add("balanced", lr, [answers(seed + 10, EVEN)])
    assert bench.compared().sentence.startswith("Imbalanced is better by 0.")


def test_is_seldom_certain_where_there_is_no_difference(tmp_path: Path) -> None:
    certain = 0
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        bench = Bench(folder)
        for seed, lr in enumerate((0.1, 0.01, 0.001)):
            bench.add("imbalanced", lr, [answers(100 * number + seed, EVEN)])
            bench.add("balanced", lr, [answers(100 * number + 50 + seed, EVEN)])
        found = bench.compared()
        assert found.macro_f1 is not None
        certain += found.macro_f1.excludes_zero
        assert found.macro_f1.excludes_zero or found.sentence.startswith("These data can't tell")
    assert certain <= 2


def test_the_luck_of_training_widens_what_the_clips_say(bench: Bench) -> None:
    """One pair for and one against: the clips of either would be certain, the two trainings together are not."""
    good, bad = {0: 0.9, 1: 0.9, 2: 0.9}, {0: 0.5, 1: 0.5, 2: 0.5}
    for lr, (first, second) in {0.1: (bad, good), 0.01: (good, bad)}.items():
        bench.add("imbalanced", lr, [answers(1, first)])
        bench.add("balanced", lr, [answers(2, second)])
    found = bench.compared()
    assert [pair.macro_f1.excludes_zero for pair in found.pairs] == [True, True]
    assert found.macro_f1 is not None
    assert not found.macro_f1.excludes_zero


def test_one_pair_is_never_enough(bench: Bench) -> None:
    bench.add("imbalanced", 0.1, [answers(0, RARE_LOST)])
    bench.add("balanced", 0.1, [answers(1, {0: 1, 1: 1, 2: 1})])
    assert bench.compared().sentence.startswith("These data can't tell: in the only pair of trials")


def test_a_stopped_trial_is_compared_at_epochs_that_both_have(bench: Bench) -> None:
    poor, good = answers(0, {0: 0.4, 1: 0.4, 2: 0.4}), answers(1, {0: 0.95, 1: 0.95, 2: 0.95})
    bench.add("imbalanced", 0.1, [poor, poor, good, good])
    bench.add("balanced", 0.1, [poor, poor], status="stopped")
    (pair,) = bench.compared().pairs
    assert pair.epochs == 2
    assert pair.macro_f1.value == 0
    assert (pair.only_first, pair.only_second, pair.p_value) == (0, 0, 1)


def test_each_answers_by_its_best_epoch(bench: Bench) -> None:
    poor, good = answers(0, {0: 0.4, 1: 0.4, 2: 0.4}), answers(1, {0: 0.95, 1: 0.95, 2: 0.95})
    bench.add("imbalanced", 0.1, [good, poor])
    bench.add("balanced", 0.1, [poor, good])
    (pair,) = bench.compared().pairs
    assert pair.macro_f1.value == 0


def test_only_trials_equal_in_all_else_are_paired(bench: Bench) -> None:
    bench.add("imbalanced", 0.1, [answers(0, EVEN)])
    bench.add("balanced", 0.01, [answers(1, EVEN)])
    bench.add("balanced", 0.1, [answers(2, EVEN)], loss="weighted")
    bench.add("balanced", 0.1, [answers(3, EVEN)])
    bench.rows[3] = replace(bench.rows[3], seed=7)
    found = bench.compared()
    assert found.pairs == ()
    assert found.sentence == ("No two trials differ in sampler alone: this sweep can't tell imbalanced from balanced.")
    assert len(bench.compared("loss", "plain", "weighted").pairs) == 0


def test_failed_trials_are_not_compared(bench: Bench) -> None:
    bench.add("imbalanced", 0.1, [answers(0, EVEN)])
    bench.add("balanced", 0.1, [answers(1, EVEN)], status="diverged")
    assert bench.compared().pairs == ()


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 12), (10, 10), (40, 22)])
def test_mcnemar_is_that_of_statsmodels(first: int, second: int) -> None:
    assert mcnemar(first, second) == pytest.approx(known_mcnemar([[50, first], [second, 50]], exact=True).pvalue)


def test_the_interval_over_trainings_is_students(bench: Bench) -> None:
    for seed, lr in enumerate((0.1, 0.01, 0.001)):
        bench.add("imbalanced", lr, [answers(seed, {0: 0.5 + 0.2 * seed} | {1: 0.6, 2: 0.6})])
        bench.add("balanced", lr, [answers(seed + 10, {0: 0.9 - 0.2 * seed} | {1: 0.6, 2: 0.6})])
    found = bench.compared()
    values = [pair.macro_f1.value for pair in found.pairs]
    known = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.macro_f1 is not None
    assert found.macro_f1.interval.low == pytest.approx(known.low)
    assert found.macro_f1.interval.high == pytest.approx(known.high)


def test_rare_is_below_half_an_even_share() -> None:
    assert rare_classes({"push_up": 41, "pull_up": 35, "squat": 22, "dip": 10}) == ("dip",)
    assert rare_classes({"a": 10, "b": 12}) == ()
    assert class_counts(["b", "a", "b"], ("a", "b", "c")) == {"a": 1, "b": 2, "c": 0}
