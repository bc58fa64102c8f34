"""Compute the features of frozen backbones on all nodes of a Ray cluster, before the trials that share them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from data.store.feature_store import FeatureStore
from tuning.cluster.chunk_tasks import run_in_chunks
from tuning.config.schema.space import MODEL_PREFIX, TRAIN_PREFIX
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.features import FeatureSpec, compute_features
from tuning.training.trial_data import TrialData


@dataclass(frozen=True, slots=True)
class FeatureBuild:
    """The features that a sweep's trials share."""

    specs: int
    """Number of different backbones and inputs."""
    computed: int
    """Clips whose features were computed, summed over the specs."""
    found: int
    """Clips whose features were in the store already."""


def feature_specs(config: SweepConfig) -> list[FeatureSpec]:
    """Return the different features that the trials of a sweep with `train.stored_views` take."""
    specs: dict[FeatureSpec, None] = {}
    for trial in _stored_view_trials(config):
        specs[FeatureSpec.of(trial)] = None
    return list(specs)


def _stored_view_trials(config: SweepConfig) -> Iterator[TrialConfig]:
    """Yield a trial for each combination of the axes that features may depend on."""
    for subspace in config.subspaces():
        varied = [axis for axis in subspace.axes if axis not in ("lr", "sampler", "loss")]
        own = [axis for axis in varied if not axis.startswith((TRAIN_PREFIX, MODEL_PREFIX))]
        others = {"lr": 1.0, "sampler": "imbalanced", "loss": "plain"}
        for choice in subspace.combinations([*own, *(axis for axis in varied if axis not in own)]):
            if config.train_config(choice).stored_views is not None:
                yield TrialConfig.from_choice(config, {**others, **choice})


def build_features(config: SweepConfig, data: TrialData, *, gpu: bool, progress: bool) -> FeatureBuild:
    """Compute the features that the store lacks, in tasks on all nodes of the connected cluster.

    Args:
        config: settings of the sweep.
        data: its clips, whose frames are in the frame store.
        gpu: compute on GPUs.
        progress: show a progress bar.

    Raises:
        ClusterError: a task has failed too often.
        DataError: the frames can't be read, or the features can't be written.
        ModelError: weights can't be found, downloaded or read.
    """
    specs, digests = feature_specs(config), sorted(data.digests())
    computed = 0
    for spec in specs:
        missing = _store(spec, data).missing(digests)
        computed += len(missing)
        description = f"features of {spec.arch}, {spec.num_frames} frames"
        compute = partial(_compute_chunk, spec, data.model_copy(update={"folds": ()}), gpu)
        with tqdm(total=len(missing), desc=description, unit="clip", disable=not (progress and missing)) as bar:
            for _ in run_in_chunks(compute, missing, count=len(missing), purpose="the feature store", gpu=gpu):
                bar.update()
    return FeatureBuild(len(specs), computed, len(specs) * len(digests) - computed)


def _store(spec: FeatureSpec, data: TrialData) -> FeatureStore:
    return spec.store(data.store(), spec.build_backbone())


def _compute_chunk(spec: FeatureSpec, data: TrialData, gpu: bool, digests: list[str]) -> list[str]:
    """Compute on a node."""
    torch.set_num_threads(1)
    device = torch.device("cuda", 0) if gpu else torch.device("cpu")
    return list(compute_features(spec, data.store(), digests, device))
