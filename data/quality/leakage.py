"""How much a random split would inflate the test score, measured with a model that can't see any exercise.

A linear model on the 7 × 7 blurred pixels of a clip's median picture sees rooms. If it does well on random splits and
badly when clips of one group are kept together, then so would the test score of any network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.clip import Clip
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore

_SIDE = 7
_MOST_FOLDS = 5
_CLEAR_DIFFERENCE = 0.1
"""A smaller difference of accuracies is not called a leak."""


@dataclass(frozen=True, slots=True)
class LeakageReport:
    """Cross-validated accuracy of the blurred-pixel model, 0 to 1."""

    random: float
    """If clips of one group may be in both training and test."""
    grouped: float | None
    """If they may not; None if fewer than two classes have two groups, so that nothing can be tested."""
    majority: float
    """Of always predicting the largest class."""

    def summary(self) -> str:
        """Return what the accuracies mean for a test score."""
        if self.grouped is None:
            return (
                "Can't measure how much a random split would inflate the test score: fewer than two classes have two "
                "groups or more."
            )
        accuracies = (
            f"A linear model on {_SIDE} × {_SIDE} blurred pixels, too few to show an exercise, classifies "
            f"{self.random:.0%} of the clips correctly if clips of one group may be in both training and test, and "
            f"{self.grouped:.0%} if they may not (always predicting the largest class: {self.majority:.0%})."
        )
        if self.random - self.grouped > _CLEAR_DIFFERENCE:
            return f"{accuracies} A random split of this folder would measure rooms, not exercises."
        return f"{accuracies} A random split of this folder would hardly inflate the test score."


def median_thumbnail(frames: np.ndarray) -> np.ndarray:
    """Return the features of a clip of frames uint8 `(F, H, W, 3)`: its median picture, float32 `(147,)`, 0 to 1."""
    median = np.median(frames[:: max(1, len(frames) // 16)], axis=0).astype(np.uint8)
    return np.asarray(Image.fromarray(median).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32).ravel() / 255


def measure_leakage(
    clips: Iterable[Clip], build: BuildReport, store: FrameStore, *, seed: int = 0
) -> LeakageReport | None:
    """Measure leakage between the groups of those clips that have frames; return None if there are too few."""
    digests = build.digests()
    stored = [clip for clip in clips if clip.path in digests]
    if len({clip.label for clip in stored}) < 2:
        return None
    features = np.stack([median_thumbnail(store.read(digests[clip.path])) for clip in stored])
    return cross_validate(features, [clip.label for clip in stored], [clip.group for clip in stored], seed=seed)


def cross_validate(
    features: np.ndarray, labels: Sequence[str], groups: Sequence[str], *, seed: int = 0
) -> LeakageReport | None:
    """Cross-validate a linear model with and without regard to groups; return None if each class has one clip.

    Args:
        features: float `(N, D)`.
        labels: class of each row.
        groups: group of each row.
        seed: of the folds.
    """
    names, target = np.unique(labels, return_inverse=True)
    group_counts = [len({g for g, t in zip(groups, target, strict=True) if t == k}) for k in range(len(names))]
    class_sizes = np.bincount(target)
    if class_sizes.max() < 2:
        return None
    random_folds = StratifiedKFold(_num_folds(class_sizes), shuffle=True, random_state=seed)
    random = _accuracy(features, target, random_folds, None)
    grouped = None
    if sum(count > 1 for count in group_counts) > 1:
        folds = StratifiedGroupKFold(_num_folds(np.array(group_counts)), shuffle=True, random_state=seed)
        grouped = _accuracy(features, target, folds, np.asarray(groups))
    return LeakageReport(random, grouped, float(class_sizes.max() / class_sizes.sum()))


def _num_folds(counts: np.ndarray) -> int:
    """Return as many folds as most classes can fill, at most five."""
    return int(np.clip(np.median(counts), 2, _MOST_FOLDS))


def _accuracy(features: np.ndarray, target: np.ndarray, folds: StratifiedKFold, groups: np.ndarray | None) -> float:
    correct = 0
    with warnings.catch_warnings():
        # A class with fewer clips than folds is missing from some, as intended.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(folds.split(features, target, groups))
    for train, test in parts:
        if len(np.unique(target[train])) == 1:
            correct += int((target[test] == target[train][0]).sum())
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        correct += int((model.fit(features[train], target[train]).predict(features[test]) == target[test]).sum())
    return correct / len(target)
