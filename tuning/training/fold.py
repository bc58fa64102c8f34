"""What a worker trains: one model with its clips, a fold each; without Ray, so that it can be measured alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from data.loading.augment import AugmentSettings
from data.loading.loaders import EvalDataset, TrainDataset, eval_loader, train_loader
from data.loading.sampling import EpochSampler, class_weights, derived_seed
from data.loading.transforms import EvalTransform, TrainTransform
from models.registry import ARCHITECTURES, build_model
from models.weights import load_weights
from tuning.config.schema.train import TrainConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.learner import Learner, build_learner
from tuning.training.trial_data import TrialData


@dataclass
class FoldTraining:
    """The model of one fold and all that changes with it from epoch to epoch; without folds there is one."""

    fold: int
    learner: Learner
    sampler: EpochSampler
    train_batches: DataLoader[Any]
    val_batches: DataLoader[Any]


def configure_torch(cpus: int) -> None:
    """So many threads, and the same kernels for the same seed."""
    torch.set_num_threads(max(1, cpus))
    # The same seed must give the same figures: cuDNN would else pick kernels by their speed of the moment.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def initial_model(trial: TrialConfig, data: TrialData, fold: int) -> nn.Module:
    """The model that training of a fold starts from: random by the trial's seed and the fold, then filled with weights.

    Raises:
        ModelError: the weights can't be had or read.
    """
    torch.manual_seed(derived_seed(trial.train.seed, fold))
    model = build_model(
        trial.arch,
        trial.options,
        num_classes=len(data.classes),
        num_frames=trial.num_frames,
        size=trial.train.size,
    )
    load_weights(model, trial.arch, trial.weights, Path(trial.weights_dir) if trial.weights_dir else None)
    return model


def build_fold(
    trial: TrialConfig,
    data: TrialData,
    fold: int,
    model: nn.Module,
    *,
    device: torch.device,
    precision: str,
    loader_workers: int,
    rank: int = 0,
    world_size: int = 1,
) -> FoldTraining:
    """A fold's model, which is on its device, made ready to train as one rank of several."""
    clips, seed = data.folds[fold].train, derived_seed(trial.train.seed, fold)
    ranks: dict[str, Any] = {"rank": rank, "world_size": world_size}
    loading: dict[str, Any] = {"workers": loader_workers, "pin_memory": device.type == "cuda"}
    labels = [clip.label for clip in clips]
    sampler = EpochSampler(labels, trial.sampler, seed=seed, **ranks)
    selection = trial.frame_selection()
    crop = TrainTransform(trial.train.size, trial.train.min_scale, trial.train.flip)
    train_set = TrainDataset(clips, data.store(), selection=selection, transform=crop, seed=seed)
    val_set = EvalDataset(
        data.folds[fold].val, data.store(), selection=selection, transform=EvalTransform(trial.train.size)
    )
    train_batches = train_loader(train_set, sampler, batch_size=trial.train.batch_size, **loading)
    learner = build_learner(
        model,
        trial.lr,
        trial.train,
        stages=ARCHITECTURES[trial.arch].stages,
        steps_per_epoch=len(train_batches),
        device=device,
        precision=precision,
        class_weights=class_weights(labels, len(data.classes)) if trial.loss == "weighted" else None,
    )
    val_batches = eval_loader(val_set, batch_size=trial.train.max_micro_batch, **loading, **ranks)
    return FoldTraining(fold, learner, sampler, train_batches, val_batches)


def augmentation_settings(train: TrainConfig) -> AugmentSettings:
    """What of the settings changes clips on the device."""
    return AugmentSettings(
        randaugment=train.randaugment,
        colour=train.colour,
        erasing=train.erasing,
        mixup=train.mixup,
        cutmix=train.cutmix,
    )


def num_loader_workers(train: TrainConfig, device: torch.device, cpus: int) -> int:
    """Processes that each of a worker's loaders has."""
    if train.loader_workers is not None:
        return train.loader_workers
    return max(0, cpus - 1) if device.type == "cuda" else 0
