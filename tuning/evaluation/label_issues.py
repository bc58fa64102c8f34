"""Clips whose label is likely wrong: confident learning on answers of a model that has not seen them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A clip that a model, sure of itself, takes for another class."""

    clip: str
    label: str
    suggested: str
    p_label: float
    """Probability of its own label."""
    p_suggested: float


def label_issues(
    clips: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> list[LabelIssue]:
    """The clips to look at, those of the least probable labels first (Northcutt et al. 2021, JAIR 70, by cleanlab).

    Args:
        clips: paths.
        labels: class index of each, int `(N,)`.
        probabilities: float `(N, K)`, of a model that was not trained on these clips.
        classes: names.
    """
    from cleanlab.filter import find_label_issues

    present = np.unique(labels)
    if len(present) < 2:
        return []
    # It wants a clip of each class; what is said of a class without clips has no threshold to be measured by.
    inside = probabilities[:, present]
    inside = inside / inside.sum(1, keepdims=True)
    with warnings.catch_warnings():
        # The report says so of all classes at once.
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        found = find_label_issues(
            np.searchsorted(present, labels), inside, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    suggested = present[inside.argmax(1)]
    return [
        LabelIssue(
            clips[at],
            classes[labels[at]],
            classes[suggested[at]],
            float(probabilities[at, labels[at]]),
            float(probabilities[at, suggested[at]]),
        )
        for at in found.tolist()
        if suggested[at] != labels[at]
    ]
