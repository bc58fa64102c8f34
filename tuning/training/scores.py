"""Accuracy, precision, recall, F1 and confusion matrix of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tuning.training.predictions import Predictions


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class."""

    label: str
    """Name of the class."""
    precision: float
    recall: float
    f1: float
    support: int
    """Number of clips of this class. If it is 0, recall and F1 are 0 and are left out of the means."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a set of predictions."""

    accuracy: float
    macro_f1: float
    """Mean F1 over the classes that have clips."""
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Number of clips `[true][predicted]`, in the order of the classes."""
    num_clips: int


def score_predictions(predictions: Predictions, classes: Sequence[str]) -> Scores:
    """Score a model's predictions, given the name of each class by index; see `score`."""
    return score(predictions.labels.tolist(), predictions.logits.argmax(1).tolist(), classes)


def score(labels: Sequence[int], predicted: Sequence[int], classes: Sequence[str]) -> Scores:
    """Score predicted against true class indices.

    Args:
        labels: true class index of each clip.
        predicted: predicted class index of each clip.
        classes: name of each class, by index.

    Raises:
        AssertionError: there are no clips, or the lengths differ.
    """
    assert len(labels) == len(predicted) > 0
    indices = list(range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=0)
    present = np.asarray(support) > 0
    return Scores(
        accuracy=float(np.mean(np.asarray(labels) == np.asarray(predicted))),
        macro_f1=float(np.mean(np.asarray(f1)[present])),
        per_class=tuple(
            ClassScore(name, float(p), float(r), float(f), int(n))
            for name, p, r, f, n in zip(classes, precision, recall, f1, support, strict=True)
        ),
        confusion=tuple(map(tuple, confusion_matrix(labels, predicted, labels=indices).tolist())),
        num_clips=len(labels),
    )
