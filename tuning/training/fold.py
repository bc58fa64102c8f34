"""Build what a worker trains: for each fold a model, its optimizer and its data loaders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from data.loading.augment import Augment, AugmentSettings
from data.loading.loaders import ClipDataset, EvalDataset, TrainDataset, eval_loader, train_loader
from data.loading.sampling import EpochSampler, class_weights, derived_seed
from data.loading.stored_features import EvalFeatures, TrainFeatures
from data.loading.transforms import EvalTransform, Normalise, TrainTransform
from models.clip_model import ClipModel, HeadModel
from models.registry import ARCHITECTURES, build_model
from models.weights import load_weights
from tuning.config.schema.train import TrainConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.features import FeatureSpec
from tuning.training.learner import Learner, build_learner
from tuning.training.trial_data import TrialData


@dataclass
class FoldTraining:
    """One fold in training. A trial without cross-validation has one fold."""

    fold: int
    model: ClipModel
    """The whole model; the learner trains it, or its head alone on stored features."""
    learner: Learner
    sampler: EpochSampler
    train_batches: DataLoader[Any]
    val_batches: DataLoader[Any]

    def checkpoint_model(self) -> nn.Module:
        """Return the model to save: the one that was validated, with its backbone."""
        validated = self.learner.eval_model
        if isinstance(validated, HeadModel):
            self.model.head = validated.head
            return self.model
        return validated


def configure_torch(cpus: int) -> None:
    """Set the number of threads, and make results reproducible on GPUs."""
    torch.set_num_threads(max(1, cpus))
    # In benchmark mode cuDNN picks kernels by their current speed, and the same seed would give different numbers.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def initial_model(trial: TrialConfig, data: TrialData, fold: int) -> ClipModel:
    """Build the model of a fold on the CPU: random by the trial's seed and the fold, then loaded with its weights.

    Raises:
        ModelError: the model cannot be built, or its weights cannot be found, downloaded or read.
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
    model: ClipModel,
    *,
    device: torch.device,
    precision: str,
    loader_workers: int,
    place: Callable[[nn.Module], nn.Module] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> FoldTraining:
    """Build a fold's learner and data loaders for one rank.

    Args:
        trial: settings of the trial.
        data: its clips.
        fold: index of the fold.
        model: the fold's model, on the CPU.
        device: the device to train on.
        precision: `fp32`, `bf16` or `fp16`.
        loader_workers: processes per data loader.
        place: moves what trains to the device; default: `Module.to`.
        rank: rank of this worker.
        world_size: number of workers that train this model together.
    """
    clips, seed = data.folds[fold].train, derived_seed(trial.train.seed, fold)
    ranks: dict[str, Any] = {"rank": rank, "world_size": world_size}
    loading: dict[str, Any] = {"workers": loader_workers, "pin_memory": device.type == "cuda"}
    labels = [clip.label for clip in clips]
    sampler = EpochSampler(labels, trial.sampler, seed=seed, **ranks)
    train_set, val_set = _datasets(trial, data, fold, model, seed)
    train_batches = train_loader(train_set, sampler, batch_size=trial.train.batch_size, **loading)
    trained = model if trial.train.stored_views is None else HeadModel(model)
    learner = build_learner(
        trained.to(device) if place is None else place(trained),
        trial.lr,
        trial.train,
        stages=ARCHITECTURES[trial.arch].stages,
        steps_per_epoch=len(train_batches),
        device=device,
        precision=precision,
        class_weights=class_weights(labels, len(data.classes)) if trial.loss == "weighted" else None,
    )
    val_batches = eval_loader(val_set, batch_size=trial.train.max_micro_batch, **loading, **ranks)
    return FoldTraining(fold, model, learner, sampler, train_batches, val_batches)


def _datasets(
    trial: TrialConfig, data: TrialData, fold: int, model: ClipModel, seed: int
) -> tuple[ClipDataset, ClipDataset]:
    """Return the training and the validation clips of a fold, as frames or as stored features."""
    clips, frames = data.folds[fold], data.store()
    if trial.train.stored_views is not None:
        features = FeatureSpec.of(trial).store(frames, model)
        return TrainFeatures(clips.train, features, seed=seed), EvalFeatures(clips.val, features)
    selection = trial.frame_selection()
    crop = TrainTransform(trial.train.size, trial.train.min_scale, trial.train.flip)
    return (
        TrainDataset(clips.train, frames, selection=selection, transform=crop, seed=seed),
        EvalDataset(clips.val, frames, selection=selection, transform=EvalTransform(trial.train.size)),
    )


def batch_transforms(trial: TrialConfig, num_classes: int, device: torch.device) -> tuple[nn.Module, Augment]:
    """Return what turns the frames of a batch into the model's input: in validation, and in training."""
    if trial.train.stored_views is not None:
        return nn.Identity(), Augment(nn.Identity(), num_classes, AugmentSettings())
    arch = ARCHITECTURES[trial.arch]
    normalise = Normalise(arch.mean, arch.std).to(device)
    return normalise, Augment(normalise, num_classes, augmentation_settings(trial.train))


def augmentation_settings(train: TrainConfig) -> AugmentSettings:
    """Return the settings of the augmentations that run on the device."""
    return AugmentSettings(
        randaugment=train.randaugment,
        colour=train.colour,
        erasing=train.erasing,
        mixup=train.mixup,
        cutmix=train.cutmix,
    )


def num_loader_workers(train: TrainConfig, device: torch.device, cpus: int) -> int:
    """Return the number of processes per data loader: the setting, or one per spare CPU on a GPU, or none on a CPU."""
    if train.loader_workers is not None:
        return train.loader_workers
    return max(0, cpus - 1) if device.type == "cuda" else 0
