"""Datasets over the feature store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from data.loading.loaders import ClipDataset, Sample
from data.loading.sampling import Draw, derived_seed
from data.store.build_report import LabelledFrames
from data.store.feature_store import FeatureStore

EVAL_VIEW = 0
"""Index of the view that evaluation uses; the views after it are augmented."""


class TrainFeatures(ClipDataset):
    """Training clips, each with the features of one of its augmented views, which the seed and the draw decide."""

    def __init__(self, clips: Sequence[LabelledFrames], store: FeatureStore, *, seed: int) -> None:
        self.clips, self.store, self.seed = clips, store, seed

    def __getitem__(self, draw: Draw) -> Sample:
        clip = self.clips[draw.clip]
        views = self.store.read(clip.digest)
        rng = np.random.default_rng(derived_seed(self.seed, draw.epoch, draw.position, draw.clip))
        view = rng.integers(EVAL_VIEW + 1, len(views))
        return Sample(torch.from_numpy(views[view].copy()), clip.label, clip.clip_id)


class EvalFeatures(ClipDataset):
    """Evaluation clips with the features of their fixed view."""

    def __init__(self, clips: Sequence[LabelledFrames], store: FeatureStore) -> None:
        self.clips, self.store = clips, store

    def __getitem__(self, index: int) -> Sample:
        clip = self.clips[index]
        return Sample(torch.from_numpy(self.store.read(clip.digest)[EVAL_VIEW].copy()), clip.label, clip.clip_id)
