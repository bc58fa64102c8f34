from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from tuning.training.predictions import Predictions
from tuning.training.scores import score, score_predictions

CLASSES = ("dip", "plank", "squat")


def test_scores_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 200).tolist(), rng.integers(0, 3, 200).tolist()
    scores = score(labels, predicted, CLASSES)
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert scores.confusion == tuple(map(tuple, confusion_matrix(labels, predicted)))
    assert sum(row.support for row in scores.per_class) == scores.num_clips == 200


def test_class_without_clips_is_left_out_of_macro_f1_but_its_false_positives_count() -> None:
    scores = score([0, 0, 2, 2], [0, 1, 2, 2], CLASSES)
    assert scores.per_class[1].support == 0
    assert scores.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert scores.confusion == ((1, 1, 0), (0, 0, 0), (0, 0, 2))


def test_predicted_class_has_the_highest_logit() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 0.4], [0.1, 0.0, 0.2]])
    predictions = Predictions(["a", "b", "c"], torch.tensor([0, 1, 0]), logits)
    assert score_predictions(predictions, CLASSES) == score([0, 1, 0], [0, 1, 2], CLASSES)
