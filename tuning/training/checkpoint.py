"""What a checkpoint directory contains.

`checkpoint.json` (a `Manifest`) and `model.pt` (a state dict) rebuild the model anywhere; `validation.pt` has its
answers to the validation clips, and which class earlier epochs gave them; `training.pt` (a `TrainingState` of each
fold) is what training needs beside them to go on. Plain values and tensors only: nothing that is unpickled can run
code.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from data.files import file_sha256
from data.video.decode import DecodeSettings
from models.ensemble import Ensemble
from models.registry import build_model
from tuning.config.trial_config import TrialConfig
from tuning.errors import TuningError
from tuning.training.calibration import calibrate
from tuning.training.learner import TrainingState, to_channels_last
from tuning.training.predictions import Predictions

MANIFEST_FILE = "checkpoint.json"
MODEL_FILE = "model.pt"
TRAINING_FILE = "training.pt"
VALIDATION_FILE = "validation.pt"
_EARLIER = "earlier"


class CheckpointError(TuningError):
    """A checkpoint that can't be used."""


class Manifest(BaseModel):
    """All that is needed beside the weights to rebuild a model and what it sees of a clip."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    trial: TrialConfig
    classes: tuple[str, ...]
    split_sha256: str
    decode: DecodeSettings
    folds: int
    """Models in it: one, or one for each fold, which then answer together."""
    precision: str
    """The precision that the metrics were computed in."""
    history: tuple[dict[str, float], ...]
    """Each epoch's metrics, the first epoch's first; the last are those of these weights."""
    model_sha256: str = ""
    """SHA-256 of `model.pt`; filled in when written."""
    validation_sha256: str = ""
    """SHA-256 of `validation.pt`; filled in when written."""
    training_sha256: str = ""
    """SHA-256 of `training.pt`; filled in when written."""

    @property
    def epoch(self) -> int:
        """Epochs that these weights were trained for."""
        return len(self.history)

    @property
    def metrics(self) -> dict[str, float]:
        """What the epoch came to."""
        return self.history[-1]


def save_checkpoint(
    folder: Path,
    manifest: Manifest,
    models: Sequence[nn.Module],
    training: Sequence[TrainingState],
    validation: Predictions,
    earlier: Sequence[torch.Tensor] = (),
) -> None:
    """Write a checkpoint of one model for each fold into an existing, empty folder.

    Args:
        folder: where to.
        manifest: what it says of itself.
        models: a model a fold.
        training: what each fold's training needs to go on.
        validation: answers to the validation clips.
        earlier: the class indices, int16 `(N,)`, that each epoch before gave to these clips, the first epoch's first.
    """
    assert len(models) == len(training) == manifest.folds
    torch.save(_together(models).state_dict(), folder / MODEL_FILE)
    torch.save([_plain(state) for state in training], folder / TRAINING_FILE)
    torch.save(_plain(validation) | {_EARLIER: list(earlier)}, folder / VALIDATION_FILE)
    digests = {
        "model_sha256": file_sha256(folder / MODEL_FILE),
        "training_sha256": file_sha256(folder / TRAINING_FILE),
        "validation_sha256": file_sha256(folder / VALIDATION_FILE),
    }
    (folder / MANIFEST_FILE).write_text(manifest.model_copy(update=digests).model_dump_json(indent=1))


def _plain(values: TrainingState | Predictions) -> dict[str, Any]:
    return {field.name: getattr(values, field.name) for field in fields(values)}


def read_manifest(folder: Path) -> Manifest:
    """Read what a checkpoint says of itself.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST_FILE).read_text())
    except OSError as error:
        raise CheckpointError(f"no checkpoint in {str(folder)!r} ({error.strerror})") from None
    except ValidationError as error:
        raise CheckpointError(f"{folder / MANIFEST_FILE} is damaged: {error.errors()[0]['msg']}") from None


def verify_checkpoint(folder: Path, *, training: bool = False) -> Manifest:
    """As `read_manifest`, once it is sure that the weights and the answers are those it speaks of.

    Args:
        folder: the checkpoint.
        training: what training needs to go on must be whole, too.

    Raises:
        CheckpointError: no checkpoint, or its files are damaged.
    """
    manifest = read_manifest(folder)
    _check_digest(folder / MODEL_FILE, manifest.model_sha256)
    _check_digest(folder / VALIDATION_FILE, manifest.validation_sha256)
    if training:
        _check_digest(folder / TRAINING_FILE, manifest.training_sha256)
    return manifest


def latest_intact_checkpoint(folder: Path, latest: Path | None) -> Path | None:
    """The newest checkpoint of a trial from which training can go on.

    Args:
        folder: of the trial's checkpoints, whose names sort by time.
        latest: the one that Ray goes by; a newer one was cut off before it was reported. None if Ray knows none.
    """
    for checkpoint in sorted(folder.glob("checkpoint_*/"), reverse=True):
        if latest is not None and checkpoint.name > latest.name:
            continue
        try:
            verify_checkpoint(checkpoint, training=True)
        except CheckpointError as error:
            print(f"note: not gone on from: {error}", flush=True)
            continue
        return checkpoint
    return None


def _check_digest(file: Path, sha256: str) -> None:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing")
    if file_sha256(file) != sha256:
        raise CheckpointError(f"{file} is damaged: its SHA-256 is not the one in {MANIFEST_FILE}")


def load_model(folder: Path) -> tuple[nn.Module, Manifest]:
    """Rebuild the model from a checkpoint alone, on the CPU, in eval mode.

    Raises:
        CheckpointError: no checkpoint, or its files are damaged.
    """
    models, manifest = load_models(folder)
    model = _together(models).eval()
    # As in training: in another memory layout sums are rounded otherwise, and answers would not be the validated ones.
    to_channels_last(model)
    return model, manifest


def load_models(folder: Path) -> tuple[list[nn.Module], Manifest]:
    """As `load_model`, but each fold's model by itself.

    Raises:
        CheckpointError: no checkpoint, or its files are damaged.
    """
    manifest = verify_checkpoint(folder)
    models: list[nn.Module] = [
        build_model(
            manifest.trial.arch,
            manifest.trial.options,
            num_classes=len(manifest.classes),
            num_frames=manifest.trial.num_frames,
            size=manifest.trial.train.size,
        )
        for _ in range(manifest.folds)
    ]
    _together(models).load_state_dict(_load(folder / MODEL_FILE))
    return models, manifest


def load_training(folder: Path) -> list[TrainingState]:
    """What training needs beside each fold's model.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    _check_digest(folder / TRAINING_FILE, read_manifest(folder).training_sha256)
    return [TrainingState(**state) for state in _load(folder / TRAINING_FILE)]


def load_validation_predictions(folder: Path) -> Predictions:
    """The model's answers to the validation clips: with folds, each clip's by the model that has not seen it.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return _load_answers(folder)[0]


def load_epoch_predictions(folder: Path) -> torch.Tensor:
    """The class index, int64 `(E, N)`, that each epoch up to these weights' gave to each validation clip.

    The clips are those of `load_validation_predictions`.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    answers, earlier = _load_answers(folder)
    return torch.stack([*earlier, answers.logits.argmax(1)])


def _load_answers(folder: Path) -> tuple[Predictions, list[torch.Tensor]]:
    _check_digest(folder / VALIDATION_FILE, read_manifest(folder).validation_sha256)
    values = _load(folder / VALIDATION_FILE)
    earlier = [one.long() for one in values.pop(_EARLIER)]
    return Predictions(**values), earlier


def _together(models: Sequence[nn.Module]) -> nn.Module:
    return models[0] if len(models) == 1 else Ensemble(models)


def copy_champion(checkpoint: Path, best: Path, max_risk: float) -> None:
    """Copy what evaluation and prediction need, with its calibration; replaces an earlier copy as a whole."""
    aside = best.with_name(best.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in (MANIFEST_FILE, MODEL_FILE, VALIDATION_FILE):
        shutil.copy2(checkpoint / name, aside / name)
    calibrate(load_validation_predictions(aside), max_risk).save(aside)
    shutil.rmtree(best, ignore_errors=True)
    aside.rename(best)


def _load(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error.strerror})") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{file} is damaged: {str(error).splitlines()[0]}") from None
