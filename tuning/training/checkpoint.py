"""Write and read checkpoint folders.

| file | content |
|---|---|
| `checkpoint.json` | a `Manifest`: everything but the weights that is needed to rebuild the model |
| `model.pt` | state dict of the model, or of an `Ensemble` with a model for each fold |
| `validation.pt` | predictions of the validation clips, and the predicted classes of earlier epochs |
| `training.pt` | a `TrainingState` for each fold, to resume training |

They contain plain values and tensors only, so that loading them cannot run code.
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
from models.clip_model import ClipModel
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
_FORMAT = 1
"""Raised when older versions of the program can't read a manifest."""


class CheckpointError(TuningError):
    """A checkpoint is missing or damaged."""


class Manifest(BaseModel):
    """Everything but the weights that is needed to rebuild a model and its input, with the metrics of each epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = _FORMAT
    trial: TrialConfig
    classes: tuple[str, ...]
    split_sha256: str
    decode: DecodeSettings
    folds: int
    """Number of models: 1, or one for each fold; their probabilities are averaged."""
    precision: str
    """Precision in which the metrics were computed: `fp32`, `bf16` or `fp16`."""
    history: tuple[dict[str, float], ...]
    """Metrics of each epoch in order; the last are those of these weights."""
    model_sha256: str = ""
    """SHA-256 of `model.pt`; set by `save_checkpoint`."""
    validation_sha256: str = ""
    """SHA-256 of `validation.pt`; set by `save_checkpoint`."""
    training_sha256: str = ""
    """SHA-256 of `training.pt`; set by `save_checkpoint`."""

    @property
    def epoch(self) -> int:
        """Number of epochs that these weights were trained for."""
        return len(self.history)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of these weights."""
        return self.history[-1]


def save_checkpoint(
    folder: Path,
    manifest: Manifest,
    models: Sequence[nn.Module],
    training: Sequence[TrainingState],
    validation: Predictions,
    earlier: Sequence[torch.Tensor] = (),
) -> None:
    """Write a checkpoint into an existing, empty folder.

    Args:
        folder: the folder.
        manifest: its SHA-256 fields are filled in.
        models: one model for each fold.
        training: training state of each fold.
        validation: predictions of the validation clips.
        earlier: class indices, int16 `(N,)`, that each earlier epoch predicted for these clips, in order.
    """
    assert len(models) == len(training) == manifest.folds
    torch.save(_single_or_ensemble(models).state_dict(), folder / MODEL_FILE)
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
    """Read the manifest of a checkpoint.

    Raises:
        CheckpointError: the manifest is missing or damaged.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_text())
    except OSError as error:
        raise CheckpointError(f"no checkpoint in {str(folder)!r} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{folder / MANIFEST_FILE} is damaged: it is not text") from None
    except ValidationError as error:
        raise CheckpointError(f"{folder / MANIFEST_FILE} is damaged: {error.errors()[0]['msg']}") from None
    if manifest.format != _FORMAT:
        raise CheckpointError(
            f"{folder / MANIFEST_FILE} has format {manifest.format}, not {_FORMAT}: use the version of this program "
            "that wrote it"
        )
    return manifest


def verify_checkpoint(folder: Path, *, training: bool = False) -> Manifest:
    """Check the hashes of a checkpoint's weights and predictions, and return its manifest.

    Args:
        folder: the checkpoint.
        training: check the training state too.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    manifest = read_manifest(folder)
    _check_digest(folder / MODEL_FILE, manifest.model_sha256)
    _check_digest(folder / VALIDATION_FILE, manifest.validation_sha256)
    if training:
        _check_digest(folder / TRAINING_FILE, manifest.training_sha256)
    return manifest


def latest_intact_checkpoint(folder: Path, latest: Path | None) -> Path | None:
    """Return the newest intact checkpoint of a trial, from which training can resume; None if there is none.

    Args:
        folder: folder of the trial's checkpoints, whose names sort by time.
        latest: the latest checkpoint that Ray knows, or None. Newer ones were not reported and are skipped.
    """
    for checkpoint in sorted(folder.glob("checkpoint_*/"), reverse=True):
        if latest is not None and checkpoint.name > latest.name:
            continue
        try:
            verify_checkpoint(checkpoint, training=True)
        except CheckpointError as error:
            print(f"note: skipping a checkpoint: {error}", flush=True)
            continue
        return checkpoint
    return None


def _check_digest(file: Path, sha256: str) -> None:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing")
    if file_sha256(file) != sha256:
        raise CheckpointError(f"{file} is damaged: its SHA-256 is not the one in {MANIFEST_FILE}")


def load_model(folder: Path) -> tuple[nn.Module, Manifest]:
    """Rebuild the model of a checkpoint on the CPU, in eval mode; with several folds, their ensemble.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    models, manifest = load_models(folder)
    model = _single_or_ensemble(models).eval()
    # As in training. Another memory layout rounds sums differently, and logits would differ from those on validation.
    to_channels_last(model)
    return model, manifest


def load_models(folder: Path) -> tuple[list[ClipModel], Manifest]:
    """Rebuild the model of each fold on the CPU, and return them with the manifest.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    manifest = verify_checkpoint(folder)
    models = [
        build_model(
            manifest.trial.arch,
            manifest.trial.options,
            num_classes=len(manifest.classes),
            num_frames=manifest.trial.num_frames,
            size=manifest.trial.train.size,
        )
        for _ in range(manifest.folds)
    ]
    try:
        _single_or_ensemble(models).load_state_dict(_load(folder / MODEL_FILE))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{folder / MANIFEST_FILE} does not fit the weights beside it: {reason}") from None
    return models, manifest


def load_training(folder: Path) -> list[TrainingState]:
    """Read the training state of each fold.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    _check_digest(folder / TRAINING_FILE, read_manifest(folder).training_sha256)
    return [TrainingState(**state) for state in _load(folder / TRAINING_FILE)]


def load_validation_predictions(folder: Path) -> Predictions:
    """Read the predictions of the validation clips; with folds, each clip is predicted by the model it did not train.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return _load_predictions(folder)[0]


def load_epoch_predictions(folder: Path) -> torch.Tensor:
    """Read the predicted class index of each validation clip in each epoch so far, int64 `(E, N)`.

    The clips have the order of `load_validation_predictions`.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    predictions, earlier = _load_predictions(folder)
    return torch.stack([*earlier, predictions.logits.argmax(1)])


def _load_predictions(folder: Path) -> tuple[Predictions, list[torch.Tensor]]:
    _check_digest(folder / VALIDATION_FILE, read_manifest(folder).validation_sha256)
    values = _load(folder / VALIDATION_FILE)
    earlier = [one.long() for one in values.pop(_EARLIER)]
    return Predictions(**values), earlier


def _single_or_ensemble(models: Sequence[nn.Module]) -> nn.Module:
    return models[0] if len(models) == 1 else Ensemble(models)


def copy_champion(checkpoint: Path, best: Path, max_risk: float) -> None:
    """Copy a checkpoint's manifest, model and predictions to `best` and calibrate it, replacing an earlier champion.

    Args:
        checkpoint: the champion's checkpoint.
        best: the champion's folder.
        max_risk: largest accepted share of wrong answers among the answers.
    """
    staging = best.with_name(best.name + ".tmp")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name in (MANIFEST_FILE, MODEL_FILE, VALIDATION_FILE):
        shutil.copy2(checkpoint / name, staging / name)
    calibrate(load_validation_predictions(staging), max_risk).save(staging)
    shutil.rmtree(best, ignore_errors=True)
    staging.rename(best)


def _load(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error.strerror})") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{file} is damaged: {str(error).splitlines()[0]}") from None
