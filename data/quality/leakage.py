"""What a random split would claim on these clips, shown with a model that can't see any exercise.

A linear model on 7 × 7 blurred pixels of a clip's still picture sees rooms. Where it does well on random splits and
badly once clips of one source are kept together, so would any network's test figure.
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
_FOLDS = 5
_CLEAR = 0.1
"""A smaller difference of accuracies is not called a leak."""


@dataclass(frozen=True, slots=True)
class LeakageReport:
    """Accuracy of the blurred-pixel model in cross-validation, 0 to 1."""

    random: float
    """Clips of one group may be in training and test."""
    grouped: float | None
    """They may not; None where no class but one has two groups, so that nothing can be tested."""
    majority: float
    """Of always naming the largest class."""

    def sentence(self) -> str:
        """What it means for a test figure, for people."""
        if self.grouped is None:
            return "Whether a random split would flatter can't be told: too few classes have two groups or more."
        said = (
            f"From {_SIDE} × {_SIDE} blurred pixels, too few to see any exercise, a linear model names "
            f"{self.random:.0%} of the clips right when clips of one group may be in both training and test, and "
            f"{self.grouped:.0%} when they may not (always naming the largest class: {self.majority:.0%})"
        )
        if self.random - self.grouped > _CLEAR:
            return f"{said}: a random split of this folder would measure rooms, not exercises."
        return f"{said}: a random split of this folder would hardly flatter."


def thumbnail(frames: np.ndarray) -> np.ndarray:
    """Features of a clip of frames uint8 `(F, H, W, 3)`: its still picture as float32 `(147,)`, 0 to 1."""
    still = np.median(frames[:: max(1, len(frames) // 16)], axis=0).astype(np.uint8)
    return np.asarray(Image.fromarray(still).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32).ravel() / 255


def measure_leakage(
    clips: Iterable[Clip], build: BuildReport, store: FrameStore, *, seed: int = 0
) -> LeakageReport | None:
    """Measure on those of the clips that have frames, by the groups that they bear; None where they are too few."""
    digests = build.digests()
    seen = [clip for clip in clips if clip.path in digests]
    if len({clip.label for clip in seen}) < 2:
        return None
    features = np.stack([thumbnail(store.read(digests[clip.path])) for clip in seen])
    return probe(features, [clip.label for clip in seen], [clip.group for clip in seen], seed=seed)


def probe(features: np.ndarray, labels: Sequence[str], groups: Sequence[str], *, seed: int = 0) -> LeakageReport | None:
    """Cross-validate a linear model with groups torn and with groups whole; None where each class has one clip.

    Args:
        features: float `(N, D)`.
        labels: class of each row.
        groups: group of each row.
        seed: of the folds.
    """
    names, target = np.unique(labels, return_inverse=True)
    groups_of = [len({g for g, t in zip(groups, target, strict=True) if t == k}) for k in range(len(names))]
    rows = np.bincount(target)
    if rows.max() < 2:
        return None
    torn = _accuracy(features, target, StratifiedKFold(_folds(rows), shuffle=True, random_state=seed), None)
    whole = None
    if sum(count > 1 for count in groups_of) > 1:
        folds = StratifiedGroupKFold(_folds(np.array(groups_of)), shuffle=True, random_state=seed)
        whole = _accuracy(features, target, folds, np.asarray(groups))
    return LeakageReport(torn, whole, float(rows.max() / rows.sum()))


def _folds(counts: np.ndarray) -> int:
    """As many as most classes can fill, at most five."""
    return int(np.clip(np.median(counts), 2, _FOLDS))


def _accuracy(features: np.ndarray, target: np.ndarray, folds: StratifiedKFold, groups: np.ndarray | None) -> float:
    right = 0
    with warnings.catch_warnings():
        # Classes of fewer clips than folds are missing from some: that is as it should be.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(folds.split(features, target, groups))
    for train, test in parts:
        if len(np.unique(target[train])) == 1:
            right += int((target[test] == target[train][0]).sum())
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        right += int((model.fit(features[train], target[train]).predict(features[test]) == target[test]).sum())
    return right / len(target)
