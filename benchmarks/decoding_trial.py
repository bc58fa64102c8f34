"""A trial as people write it by hand: the same models and steps as this project's, each clip decoded at each look.

Of two ways that are met in notebooks the cheaper one: every frame is decoded, but only those that are kept are
converted and scaled (by FFmpeg's own scaler, in the loader's processes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from benchmarks.decoding import middles
from benchmarks.training import device_at_hand
from data.clip import Clip
from data.dataset.splits import read_split
from data.loading.augment import Augment
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
from tuning.training.metrics import Scores, score
from tuning.training.precision import choose_precision
from tuning.training.predictions import Predictions
from tuning.training.trial_data import FoldClips, TrialData


@dataclass(frozen=True)
class FramesFromFiles:
    """Takes the frame store's place: a clip's digest is here the path of its file."""

    settings: DecodeSettings

    def read(self, path: str) -> np.ndarray:
        """uint8 `(F, H, W, 3)`: the kept frames, equally spaced."""
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            frames = list(container.decode(stream))
        kept = middles(len(frames), self.settings.frames)
        scale = self.settings.short_side / min(frames[0].width, frames[0].height)
        width, height = round(frames[0].width * scale), round(frames[0].height * scale)
        return np.stack([frames[i].reformat(width, height, "rgb24").to_ndarray() for i in kept])


class DataInFiles(TrialData):
    """Clips that are decoded whenever they are looked at."""

    def store(self) -> Any:
        """What reads them."""
        return FramesFromFiles(self.decode)


@dataclass(frozen=True)
class Search:
    """All that is tried, and on what."""

    config: SweepConfig
    data: DataInFiles
    test: tuple[LabelledFrames, ...]

    def trials(self) -> list[TrialConfig]:
        """Every combination."""
        return [TrialConfig.from_choice(self.config, point) for point in grid_choices(self.config)]


def read_search(config: str, clips: str, split: str) -> Search:
    """The search that `python -m tuning sweep` makes of the same files."""
    settings, parts = load_config(Path(config), [], {"data.dir": clips}), read_split(Path(split))
    index = {name: label for label, name in enumerate(parts.classes)}

    def listed(part: tuple[Clip, ...]) -> tuple[LabelledFrames, ...]:
        return tuple(LabelledFrames(clip.path, str(Path(clips, clip.path)), index[clip.label]) for clip in part)

    data = DataInFiles(
        classes=parts.classes,
        split_sha256=parts.sha256,
        frame_store=StoreConfig(),
        decode=settings.store.decode_settings(),
        folds=(FoldClips(train=listed(parts.clips("train")), val=listed(parts.clips("val"))),),
    )
    return Search(settings, data, listed(parts.clips("test")))


def train_trial(
    trial: TrialConfig, data: DataInFiles, *, cpus: int, loader_workers: int
) -> Iterator[tuple[int, Scores, Callable[[Path], None]]]:
    """Train to the end; after each epoch its number, validation scores, and a way to save the weights."""
    configure_torch(cpus)
    device = device_at_hand()
    precision = choose_precision(trial.train.precision, device)
    member = build_fold(
        trial,
        data,
        0,
        initial_model(trial, data, 0).to(device),
        device=device,
        precision=precision,
        loader_workers=loader_workers,
    )
    augment = Augment(_normalise(trial, device), len(data.classes), augmentation_settings(trial.train))
    for epoch in range(1, trial.train.epochs + 1):
        seed = derived_seed(trial.train.seed, epoch, 0, 0)
        torch.manual_seed(seed)
        member.sampler.set_epoch(epoch)
        train_one_epoch(
            member.learner,
            augment,
            member.train_batches,
            epoch=epoch,
            seed=seed,
            micro_batch=trial.train.max_micro_batch,
        )
        found = predict(
            member.learner.eval_model, augment.normalise, member.val_batches, device=device, precision=precision
        )
        yield epoch, scored(found, data.classes), lambda file: torch.save(member.learner.eval_model.state_dict(), file)


def test_scores(trial: TrialConfig, search: Search, weights: Path, *, cpus: int, loader_workers: int) -> Scores:
    """Of saved weights."""
    configure_torch(cpus)
    device = device_at_hand()
    precision = choose_precision(trial.train.precision, device)
    model = initial_model(trial, search.data, 0).to(device)
    model.load_state_dict(torch.load(weights, weights_only=True))
    rounds = (FoldClips(train=search.data.folds[0].train, val=search.test),)
    tested = search.data.model_copy(update={"folds": rounds})
    member: FoldTraining = build_fold(
        trial, tested, 0, model, device=device, precision=precision, loader_workers=loader_workers
    )
    found = predict(model, _normalise(trial, device), member.val_batches, device=device, precision=precision)
    return scored(found, search.data.classes)


def scored(found: Predictions, classes: tuple[str, ...]) -> Scores:
    """Answers against labels."""
    return score(found.labels.tolist(), found.logits.argmax(1).tolist(), classes)


def _normalise(trial: TrialConfig, device: torch.device) -> torch.nn.Module:
    arch = ARCHITECTURES[trial.arch]
    return Normalise(arch.mean, arch.std).to(device)
