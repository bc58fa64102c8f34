"""From predictions to accuracy, F1 and confusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class is recognised."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """Clips of this class; 0 means that its recall and F1 say nothing (they are 0 and not averaged)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a set of predictions is worth."""

    accuracy: float
    macro_f1: float
    """Mean F1 over the classes that have clips here."""
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    """`[true][predicted]` clip counts, in the order of the classes."""
    num_clips: int


def score(labels: Sequence[int], predicted: Sequence[int], classes: Sequence[str]) -> Scores:
    """Compare true and predicted class indices.

    Args:
        labels: class index of each clip.
        predicted: class index given to each clip.
        classes: names, so that index i is `classes[i]`.

    Raises:
        AssertionError: no clips, or unequal lengths.
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
