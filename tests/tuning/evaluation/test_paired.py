"""Pairs of trials whose true difference is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from tests.helpers.checkpoints import MANIFEST
from tests.helpers.trial_results import CHOICE
from tuning.evaluation.paired import PairedComparison, class_counts, compare_pairs, mcnemar_p_value, rare_classes
from tuning.search.trial_result import TrialResult
from tuning.training.checkpoint import save_checkpoint
from tuning.training.learner import TrainingState
from tuning.training.predictions import Predictions
from tuning.training.scores import score

CLASSES = ("dip", "plank", "squat")
TRAIN_CLIPS = {"dip": 100, "plank": 10, "squat": 100}
CLIPS, CLIPS_PER_GROUP = 180, 6
LABELS = np.arange(CLIPS) % 3
GROUPS = {f"{number}": f"source {number // CLIPS_PER_GROUP}" for number in range(CLIPS)}


class Bench:
    """Trials whose checkpoints hold given predictions; their models are never used."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, []

    def add(
        self, sampler: str, lr: float, epochs: Sequence[np.ndarray], *, loss: str = "plain", status: str = "done"
    ) -> None:
        """Add a trial with the predictions of each epoch."""
        name = f"t{len(self.rows)}"
        folder = self.folder / name
        folder.mkdir()
        logits = torch.nn.functional.one_hot(torch.from_numpy(epochs[-1]), len(CLASSES)).float()
        predictions = Predictions([str(n) for n in range(CLIPS)], torch.from_numpy(LABELS), logits)
        earlier = [torch.from_numpy(each).short() for each in epochs[:-1]]
        history = tuple({"val_macro_f1": score(LABELS.tolist(), each.tolist(), CLASSES).macro_f1} for each in epochs)
        manifest = MANIFEST.model_copy(update={"history": history, "folds": 1})
        save_checkpoint(folder, manifest, [torch.nn.Linear(1, 1)], [TrainingState({}, {}, {})], predictions, earlier)
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

    def add_pairs(
        self, imbalanced: Callable[[int], np.ndarray], balanced: Callable[[int], np.ndarray], pairs: int = 3
    ) -> None:
        """Add pairs of trials with one epoch each; the functions give the predictions in pair 0, 1 …"""
        for number in range(pairs):
            self.add("imbalanced", 0.1**number, [imbalanced(number)])
            self.add("balanced", 0.1**number, [balanced(number)])

    def compare(self, axis: str = "sampler", first: str = "imbalanced", second: str = "balanced") -> PairedComparison:
        return compare_pairs(
            self.rows, axis, first, second, metric="val_macro_f1", groups=GROUPS, train_clips=TRAIN_CLIPS
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def predicted(seed: int, accuracy: float | dict[int, float]) -> np.ndarray:
    """Predictions with this accuracy, in each class or by class: a class index per clip."""
    by_class = accuracy if isinstance(accuracy, dict) else dict.fromkeys(range(3), accuracy)
    random = np.random.default_rng(seed)
    correct = random.random(CLIPS) < np.array([by_class[label] for label in LABELS])
    return np.where(correct, LABELS, (LABELS + random.integers(1, 3, CLIPS)) % 3)


RARE_LOST = {0: 0.8, 1: 0.1, 2: 0.8}


def test_balanced_is_better_if_it_finds_the_rare_class(bench: Bench) -> None:
    bench.add_pairs(lambda n: predicted(n, RARE_LOST), lambda n: predicted(n + 10, 0.8), pairs=4)
    found = bench.compare()
    assert found.rare == ("plank",)
    assert found.macro_f1 is not None
    assert found.rare_recall is not None
    assert found.macro_f1.excludes_zero
    assert found.rare_recall.interval.contains(0.7)
    assert found.sentence.startswith("Balanced is better by 0.")
    assert "over 4 pairs of trials; recall of the rare classes +0.7" in found.sentence
    assert found.sentence.endswith("from 30 groups of clips.")


def test_imbalanced_is_better_if_its_accuracy_is_higher(bench: Bench) -> None:
    bench.add_pairs(lambda n: predicted(n, 0.9), lambda n: predicted(n + 10, 0.7), pairs=4)
    assert bench.compare().sentence.startswith("Imbalanced is better by 0.")


def by_training(seed: int) -> Callable[[int], np.ndarray]:
    """Each training ends at an accuracy of its own, by chance: the clips of any one pair would show a difference."""
    random = np.random.default_rng(seed)
    return lambda number: predicted(1000 * seed + number, float(random.normal(0.7, 0.12)))


def by_group(seed: int) -> Callable[[int], np.ndarray]:
    """All trainings fail on the same groups, by chance: pair by pair the difference is the same."""
    correct = (np.random.default_rng(seed).random(CLIPS // CLIPS_PER_GROUP) < 0.7).repeat(CLIPS_PER_GROUP)
    return lambda number: np.where(correct, LABELS, (LABELS + 1) % 3)


@pytest.mark.parametrize("chance", [by_training, by_group])
def test_a_difference_by_chance_is_rarely_certain(
    chance: Callable[[int], Callable[[int], np.ndarray]], tmp_path: Path
) -> None:
    """95 % intervals exclude 0 in 1 of 20 comparisons; over clips alone they would in more than 5."""
    certain = 0
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        bench = Bench(tmp_path / str(number))
        bench.add_pairs(chance(2 * number), chance(2 * number + 1))
        found = bench.compare()
        assert found.macro_f1 is not None
        certain += found.macro_f1.excludes_zero
    assert certain <= 2


def test_without_certainty_the_sentence_says_that_the_data_cannot_tell(bench: Bench) -> None:
    bench.add_pairs(lambda n: predicted(n, 0.7), lambda n: predicted(n + 10, 0.7))
    found = bench.compare()
    assert found.macro_f1 is not None
    assert not found.macro_f1.excludes_zero
    assert found.sentence.startswith("These data can't tell: balanced minus imbalanced is ")


def test_pairs_that_contradict_each_other_show_no_difference(bench: Bench) -> None:
    """The clips of either pair alone would be certain, the two trainings together are not."""
    bench.add_pairs(lambda n: predicted(1, [0.5, 0.9][n]), lambda n: predicted(2, [0.9, 0.5][n]), pairs=2)
    found = bench.compare()
    assert [pair.macro_f1.excludes_zero for pair in found.pairs] == [True, True]
    assert found.macro_f1 is not None
    assert not found.macro_f1.excludes_zero


def test_one_pair_is_never_enough(bench: Bench) -> None:
    bench.add("imbalanced", 0.1, [predicted(0, RARE_LOST)])
    bench.add("balanced", 0.1, [predicted(1, 1.0)])
    assert bench.compare().sentence.startswith("These data can't tell: in the only pair of trials")


def test_a_stopped_trial_is_compared_at_the_epochs_that_both_trained(bench: Bench) -> None:
    poor, good = predicted(0, 0.4), predicted(1, 0.95)
    bench.add("imbalanced", 0.1, [poor, poor, good, good])
    bench.add("balanced", 0.1, [poor, poor], status="stopped")
    (pair,) = bench.compare().pairs
    assert pair.epochs == 2
    assert pair.macro_f1.value == 0
    assert (pair.only_first, pair.only_second, pair.p_value) == (0, 0, 1)


def test_each_trial_is_scored_at_its_best_epoch(bench: Bench) -> None:
    poor, good = predicted(0, 0.4), predicted(1, 0.95)
    bench.add("imbalanced", 0.1, [good, poor])
    bench.add("balanced", 0.1, [poor, good])
    (pair,) = bench.compare().pairs
    assert pair.macro_f1.value == 0


def test_only_trials_equal_in_everything_else_are_paired(bench: Bench) -> None:
    bench.add("imbalanced", 0.1, [predicted(0, 0.7)])
    bench.add("balanced", 0.01, [predicted(1, 0.7)])
    bench.add("balanced", 0.1, [predicted(2, 0.7)], loss="weighted")
    bench.add("balanced", 0.1, [predicted(3, 0.7)])
    bench.rows[3] = replace(bench.rows[3], seed=7)
    found = bench.compare()
    assert found.pairs == ()
    assert found.sentence == (
        "No two trials differ in sampler alone, so this sweep can't compare imbalanced and balanced."
    )
    assert len(bench.compare("loss", "plain", "weighted").pairs) == 0


def test_failed_trials_are_not_compared(bench: Bench) -> None:
    bench.add("imbalanced", 0.1, [predicted(0, 0.7)])
    bench.add("balanced", 0.1, [predicted(1, 0.7)], status="diverged")
    assert bench.compare().pairs == ()


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 12), (10, 10), (40, 22)])
def test_mcnemar_p_value_equals_that_of_statsmodels(first: int, second: int) -> None:
    reference = reference_mcnemar([[50, first], [second, 50]], exact=True).pvalue
    assert mcnemar_p_value(first, second) == pytest.approx(reference)


def test_interval_over_trainings_is_students_t(bench: Bench) -> None:
    bench.add_pairs(
        lambda n: predicted(n, {0: 0.5 + 0.2 * n, 1: 0.6, 2: 0.6}),
        lambda n: predicted(n + 10, {0: 0.9 - 0.2 * n, 1: 0.6, 2: 0.6}),
    )
    found = bench.compare()
    reference = stats.ttest_1samp([pair.macro_f1.value for pair in found.pairs], 0).confidence_interval()
    assert found.macro_f1 is not None
    assert found.macro_f1.interval.low == pytest.approx(reference.low)
    assert found.macro_f1.interval.high == pytest.approx(reference.high)


def test_rare_classes_have_less_than_half_an_even_share() -> None:
    assert rare_classes({"push_up": 41, "pull_up": 35, "squat": 22, "dip": 10}) == ("dip",)
    assert rare_classes({"a": 10, "b": 12}) == ()


def test_classes_without_clips_are_counted_as_zero() -> None:
    assert class_counts(["b", "a", "b"], ("a", "b", "c")) == {"a": 1, "b": 2, "c": 0}
