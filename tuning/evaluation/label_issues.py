"""Clips whose label is likely wrong, by confident learning on out-of-sample predictions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A clip for which a confident model predicts another class than its label."""

    clip: str
    label: str
    suggested: str
    p_label: float
    """Predicted probability of its label."""
    p_suggested: float
    """Predicted probability of the suggested class."""


def label_issues(
    clips: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> list[LabelIssue]:
    """Return the clips whose label is likely wrong, the least probable label first.

    The method is confident learning (Northcutt et al. 2021, JAIR 70), as implemented in cleanlab.

    Args:
        clips: paths.
        labels: class index of each clip, int `(N,)`.
        probabilities: float `(N, K)`, from a model that was not trained on these clips.
        classes: K names.
    """
    from cleanlab.filter import find_label_issues

    present = np.unique(labels)
    if len(present) < 2:
        return []
    # cleanlab needs a clip of each class: without clips a class has no confidence threshold.
    of_present = probabilities[:, present]
    of_present = of_present / of_present.sum(1, keepdims=True)
    with warnings.catch_warnings():
        # The report page states this limit itself.
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        found = find_label_issues(
            np.searchsorted(present, labels), of_present, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    suggested = present[of_present.argmax(1)]
    return [
        LabelIssue(
            clips[index],
            classes[labels[index]],
            classes[suggested[index]],
            float(probabilities[index, labels[index]]),
            float(probabilities[index, suggested[index]]),
        )
        for index in found.tolist()
        if suggested[index] != labels[index]
    ]
