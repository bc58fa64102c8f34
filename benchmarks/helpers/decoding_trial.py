"""A trial as people write it by hand: the same models and steps as this project's, but every epoch decodes every clip.

Notebooks do this in two ways. This is the cheaper one: every frame is decoded, but only the frames that the model takes
are converted and scaled (by FFmpeg's own scaler, in the loader's processes).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import nn

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.noise_training import default_device
from data.clip import Clip
from data.dataset.splits import read_split
from data.loading.augment import Augment
from data.loading.frame_selection import FrameSelection
from data.loading.sampling import derived_seed
from data.loading.transforms import Normalise
from data.store.build_report import LabelledFrames
from data.video.decode import DecodeSettings
from models.registry import ARCHITECTURES
from tuning.config.load import load_config
from tuning.config.schema.store import StoreConfig
from tuning.config.sweep_config import SweepConfig
from tuning.config.trial_config import TrialConfig
from tuning.search.algorithms import grid_choices
from tuning.training.epoch import predict, train_one_epoch
from tuning.training.fold import FoldTraining, augmentation_settings, build_fold, configure_torch, initial_model
from tuning.training.precision import choose_precision
from tuning.training.scores import Scores, score_predictions
from tuning.training.trial_data import FoldClips, TrialData


@dataclass(frozen=True)
class DecodingStore:
    """Has the interface of a frame store, but decodes at every read. A clip's digest is the path of its file."""

    settings: DecodeSettings

    def read(self, path: str) -> np.ndarray:
        """Return equally spaced frames of a file, uint8 `(F, H, W, 3)`."""
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            frames = list(container.decode(stream))
        scale = self.settings.short_side / min(frames[0].width, frames[0].height)
        width, height = round(frames[0].width * scale), round(frames[0].height * scale)
        selected = FrameSelection(self.settings.frames).eval_indices(len(frames))
        return np.stack([frames[i].reformat(width, height, "rgb24").to_ndarray() for i in selected])


class UndecodedData(TrialData):
    """The clips of a sweep without a frame store."""

    def store(self) -> Any:
        """Return what decodes the clips."""
        return DecodingStore(self.decode)


@dataclass(frozen=True)
class GridSearch:
    """The trials and clips of a sweep."""

    config: SweepConfig
    data: UndecodedData
    test: tuple[LabelledFrames, ...]

    def trials(self) -> list[TrialConfig]:
        """Return one trial per combination of values."""
        return [TrialConfig.from_choice(self.config, choice) for choice in grid_choices(self.config)]


def load_grid_search(config_file: str, clips: str, split: str) -> GridSearch:
    """Return the trials and clips of `python -m tuning sweep` with the same config, folder of clips and split."""
    config, parts = load_config(Path(config_file), [], {"data.dir": clips}), read_split(Path(split))
    index = {name: number for number, name in enumerate(parts.classes)}

    def labelled(part: list[Clip]) -> tuple[LabelledFrames, ...]:
        return tuple(LabelledFrames(clip.path, str(Path(clips, clip.path)), index[clip.label]) for clip in part)

    data = UndecodedData(
        classes=parts.classes,
        split_sha256=parts.sha256,
        frame_store=StoreConfig(),
        decode=config.store.decode_settings(),
        folds=(FoldClips(train=labelled(parts.clips("train")), val=labelled(parts.clips("val"))),),
    )
    return GridSearch(config, data, labelled(parts.clips("test")))


@dataclass(frozen=True)
class TrainedEpoch:
    """A model after an epoch."""

    number: int
    """From 1."""
    scores: Scores
    """On the validation clips."""
    model: nn.Module

    def save(self, file: Path) -> None:
        """Write the weights."""
        torch.save(self.model.state_dict(), file)


def train_trial(trial: TrialConfig, data: UndecodedData, *, cpus: int, loader_workers: int) -> Iterator[TrainedEpoch]:
    """Train all epochs and yield the model after each; the next epoch changes it."""
    configure_torch(cpus)
    device = default_device()
    fold = _build_fold(trial, data, initial_model(trial, data, 0).to(device), loader_workers)
    augment = Augment(_normalise(trial, device), len(data.classes), augmentation_settings(trial.train))
    for epoch in range(1, trial.train.epochs + 1):
        seed = derived_seed(trial.train.seed, epoch, 0, 0)
        torch.manual_seed(seed)
        fold.sampler.set_epoch(epoch)
        train_one_epoch(
            fold.learner,
            augment,
            fold.train_batches,
            epoch=epoch,
            seed=seed,
            micro_batch=trial.train.max_micro_batch,
        )
        yield TrainedEpoch(epoch, _validate(trial, data, fold), fold.learner.eval_model)


def parse_sweep_arguments(doc: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line of a sweep over decoding trials: files of the sweep, and the folder to write to."""
    parser = argument_parser(doc)
    for name in ("config", "data", "split", "out"):
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args(argv)


def write_scores(search: GridSearch, trial: TrialConfig, weights: Path, val_macro_f1: float, folder: Path) -> None:
    """Score the best trial's weights on the test clips and write `scores.json` to the folder."""
    cpus = os.cpu_count() or 1
    configure_torch(cpus)
    model = initial_model(trial, search.data, 0).to(default_device())
    model.load_state_dict(torch.load(weights, weights_only=True))
    test_fold = FoldClips(train=search.data.folds[0].train, val=search.test)
    data = search.data.model_copy(update={"folds": (test_fold,)})
    scores = _validate(trial, data, _build_fold(trial, data, model, cpus))
    (folder / "scores.json").write_text(json.dumps({"val_macro_f1": val_macro_f1, "test_macro_f1": scores.macro_f1}))


def _build_fold(trial: TrialConfig, data: UndecodedData, model: nn.Module, loader_workers: int) -> FoldTraining:
    device = default_device()
    precision = choose_precision(trial.train.precision, device)
    return build_fold(trial, data, 0, model, device=device, precision=precision, loader_workers=loader_workers)


def _validate(trial: TrialConfig, data: UndecodedData, fold: FoldTraining) -> Scores:
    device = default_device()
    precision = choose_precision(trial.train.precision, device)
    normalise = _normalise(trial, device)
    found = predict(fold.learner.eval_model, normalise, fold.val_batches, device=device, precision=precision)
    return score_predictions(found, data.classes)


def _normalise(trial: TrialConfig, device: torch.device) -> nn.Module:
    arch = ARCHITECTURES[trial.arch]
    return Normalise(arch.mean, arch.std).to(device)
