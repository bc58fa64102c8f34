"""Features of clips for trials with a frozen backbone: what determines them, and how they are computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.loading.augment import Augment, AugmentSettings
from data.loading.frame_selection import FrameSelection
from data.loading.model_input import eval_frames, select_frames
from data.loading.sampling import derived_seed
from data.loading.transforms import EvalTransform, Normalise, TrainTransform
from data.store.feature_store import FeatureStore
from data.store.frame_store import FrameStore
from models.clip_model import ClipModel
from models.registry import ARCHITECTURES, build_model
from models.weights import load_weights
from tuning.config.trial_config import TrialConfig
from tuning.training.precision import autocast

FEATURES_VERSION = 1
"""Part of a feature store's key: increase it when the same settings give other features."""


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that determines the features of a trial, except the frames: trials with the same spec share them."""

    arch: str
    options: tuple[tuple[str, Any], ...]
    """Options of the architecture that concern the backbone, sorted."""
    weights: str
    weights_dir: str | None
    num_frames: int
    size: int
    selection: FrameSelection
    crop: TrainTransform
    augment: AugmentSettings
    views: int
    """Augmented views, in addition to the one for evaluation."""
    precision: str
    """`fp32`, `bf16` or `fp16`."""

    @classmethod
    def of(cls, trial: TrialConfig) -> FeatureSpec:
        """Return the spec of a trial that has `train.stored_views`."""
        train = trial.train
        assert train.stored_views is not None
        head_options = ARCHITECTURES[trial.arch].head_options
        return cls(
            arch=trial.arch,
            options=tuple(sorted((name, value) for name, value in trial.options.items() if name not in head_options)),
            weights=trial.weights,
            weights_dir=trial.weights_dir,
            num_frames=trial.num_frames,
            size=train.size,
            selection=trial.frame_selection(),
            crop=TrainTransform(train.size, train.min_scale, train.flip),
            augment=AugmentSettings(train.randaugment, train.colour, train.erasing),
            views=train.stored_views,
            # Not the device's fastest: a trial on another device would not find the features.
            precision="fp32" if train.precision == "auto" else train.precision,
        )

    def build_backbone(self) -> ClipModel:
        """Build a model with the weights, in evaluation mode on the CPU; its head is random and not used.

        Raises:
            ModelError: the weights can't be found, downloaded or read.
        """
        model = build_model(self.arch, dict(self.options), num_classes=2, num_frames=self.num_frames, size=self.size)
        load_weights(model, self.arch, self.weights, Path(self.weights_dir) if self.weights_dir else None)
        return model.eval()

    def store(self, frames: FrameStore, backbone: ClipModel) -> FeatureStore:
        """Return the store of these features; a backbone with other weights has another one.

        Args:
            frames: the frames that the features are computed from.
            backbone: a model with the weights; its head does not matter.
        """
        content = {
            "version": FEATURES_VERSION,
            "backbone": _backbone_sha256(backbone),
            **{name: repr(value) for name, value in vars(self).items() if not name.startswith("weights")},
        }
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        return FeatureStore(frames.folder / "features" / key)


def _backbone_sha256(model: ClipModel) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class FeatureExtractor:
    """Computes the features of clips by a frozen backbone."""

    def __init__(self, spec: FeatureSpec, backbone: ClipModel, device: torch.device) -> None:
        self._spec, self._backbone, self._device = spec, backbone.to(device), device
        arch = ARCHITECTURES[spec.arch]
        self._normalise = Normalise(arch.mean, arch.std).to(device)
        self._augment = Augment(self._normalise, 1, spec.augment)

    @torch.inference_mode()
    def __call__(self, stored: np.ndarray, digest: str) -> np.ndarray:
        """Return the features of a clip's views, float32 `(1 + views, …)`, the view for evaluation first.

        Args:
            stored: the clip's stored frames, uint8 `(F, H, W, 3)`.
            digest: of the clip; decides the augmentation of each view.
        """
        features = []
        for inputs in self.inputs(stored, digest):
            with autocast(self._spec.precision, self._device):
                features.append(self._backbone.extract_features(inputs).float().cpu()[0])
        return torch.stack(features).numpy()

    def inputs(self, stored: np.ndarray, digest: str) -> Iterator[torch.Tensor]:
        """Yield the backbone's input for each view of a clip, float32 `(1, T, 3, S, S)`."""
        spec = self._spec
        yield self._normalise(eval_frames(stored, spec.selection, EvalTransform(spec.size))[None].to(self._device))
        for view in range(1, 1 + spec.views):
            seed = derived_seed(view, int(digest[:15], 16))
            rng = np.random.default_rng(seed)
            frames = spec.crop(select_frames(stored, spec.selection.train_indices(len(stored), rng)), rng)
            yield self._augment(frames[None].to(self._device), torch.zeros(1, dtype=torch.int64), seed)[0]


def compute_features(
    spec: FeatureSpec, frames: FrameStore, digests: Iterable[str], device: torch.device
) -> Iterator[str]:
    """Compute and store the features of clips, one after the other; yield the digest of each when it is stored.

    Raises:
        DataError: the frames can't be read, or the features can't be written.
        ModelError: the weights can't be found, downloaded or read.
    """
    backbone = spec.build_backbone()
    store, extract = spec.store(frames, backbone), FeatureExtractor(spec, backbone, device)
    for digest in digests:
        store.put(digest, extract(frames.read(digest), digest))
        yield digest
