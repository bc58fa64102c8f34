"""Weights to start from: which file or folder they are read from, and how they get into a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.architecture import WeightEntry
from models.errors import ModelError
from models.registry import check_weights, get_architecture
from models.weight_files import obtain_weight_file, weight_file_path, weight_file_sha256

# What a champion's folder holds.
_MANIFEST, _MODEL = "checkpoint.json", "model.pt"


@dataclass(frozen=True)
class WeightsReport:
    """Which keys of a weight file went into a model, and which did not."""

    loaded: tuple[str, ...] = ()
    """The model's keys that now hold the file's values."""

    missing: tuple[str, ...] = ()
    """The model's keys that the file lacks: they keep their random start."""

    unexpected: tuple[str, ...] = ()
    """The file's keys that the model lacks."""

    mismatched: tuple[str, ...] = ()
    """The model's keys that the file has in another shape, such as a head for other classes: they keep theirs too."""

    note: str = ""
    """What else is to be said, in one line: of an ensemble, which member was taken."""


def load_weights(model: nn.Module, name: str, weights: str, weights_dir: Path | None = None) -> WeightsReport:
    """Fill a model of the architecture `name` in place.

    Keys go by name: those of the model itself, or those of the network that it wraps as `backbone`, or those of ports
    that the architecture knows, each with or without DDP's `module.`. What doesn't fit in shape, as a head for other
    classes, stays as it was. Of an ensemble the first member is taken.

    Args:
        model: as `build_model` returns it.
        name: its architecture.
        weights: `none`, a name that the architecture knows, a file with a state dict (bare or under `state_dict`), or
            the folder of an earlier champion (`checkpoint.json` and `model.pt`).
        weights_dir: folder of the files of named weights; default: torch's own (`TORCH_HOME`).

    Raises:
        ModelError: the weights can't be had or read, or nothing of them fits outside the head.
    """
    check_weights(name, weights)
    if weights == "none":
        return WeightsReport()
    own, found = model.state_dict(), read_weights(name, weights, weights_dir)
    file_keys, note = _one_models_keys(found)
    translated = get_architecture(name).translate({bare: found[key] for bare, key in file_keys.items()})
    entries = {file_keys[bare]: _fitted(entry, own) for bare, entry in translated.items()}
    in_file = {entry.key: entry.value for entry in entries.values()}
    shared = [key for key in own if key in in_file]
    loaded = {key: in_file[key] for key in shared if in_file[key].shape == own[key].shape}
    # Batch norm's counters are scalars, which fit whatever the network.
    if not any(
        value.dim() > 0 and not key.startswith(get_architecture(name).head_prefix) for key, value in loaded.items()
    ):
        raise ModelError(f"nothing in {weights!r} fits {name}: it holds {_first(found)}; the model has {_first(own)}")
    model.load_state_dict(loaded, strict=False)
    return WeightsReport(
        loaded=tuple(loaded),
        missing=tuple(key for key in own if key not in in_file),
        unexpected=tuple(key for key, entry in entries.items() if entry.key not in own),
        mismatched=tuple(key for key in shared if key not in loaded),
        note=note,
    )


def read_weights(name: str, weights: str, weights_dir: Path | None = None) -> dict[str, torch.Tensor]:
    """The state dict of weights for the architecture `name`, as it was saved.

    Args:
        name: the architecture.
        weights: as for `load_weights`, but not `none`.
        weights_dir: as for `load_weights`.

    Raises:
        ModelError: they can't be had or read.
    """
    path = find_weights(name, weights, weights_dir)
    return _read_champion(path, name) if path.is_dir() else _read_file(path)


def find_weights(name: str, weights: str, weights_dir: Path | None = None) -> Path:
    """The file or champion's folder of weights for the architecture `name`, downloaded if it has to be; it isn't read.

    Args:
        name: the architecture.
        weights: as for `load_weights`, but not `none`.
        weights_dir: as for `load_weights`.

    Raises:
        ModelError: it can't be had, or is another file than it should be.
    """
    known = get_architecture(name).weights
    if weights in known:
        return obtain_weight_file(known[weights], name, weights, weights_dir)
    path = Path(weights)
    if not path.exists():
        raise ModelError(f"{name}'s weights {weights!r} are no file: give the path of one, or set weights to none")
    return path


def weights_available(name: str, weights: str, weights_dir: Path | None = None) -> bool:
    """Whether `find_weights` finds something there without a download."""
    known = get_architecture(name).weights
    path = weight_file_path(known[weights], weights_dir) if weights in known else Path(weights)
    return path is not None and path.exists()


def _one_models_keys(found: Mapping[str, torch.Tensor]) -> tuple[dict[str, str], str]:
    """The file's keys by those of one model, and what is to be said of that."""
    keys = {key.removeprefix("module."): key for key in found}
    members = {key.split(".")[1] for key in keys if key.startswith("members.")}
    if not members:
        return keys, ""
    first = {key.removeprefix("members.0."): file_key for key, file_key in keys.items() if key.startswith("members.0.")}
    return first, f"an ensemble of {len(members)}: its first member was taken, the others' values are not used"


def _fitted(entry: WeightEntry, own: Mapping[str, torch.Tensor]) -> WeightEntry:
    wrapped = f"backbone.{entry.key}"
    return WeightEntry(wrapped, entry.value) if wrapped in own else entry


def _first(state: Mapping[str, torch.Tensor]) -> str:
    shown = [f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:3]]
    return ", ".join(shown + ["…"] * (len(state) > 3)) or "nothing"


def _read_champion(folder: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        arch, digest = manifest["trial"]["arch"], manifest["model_sha256"]
    except OSError as error:
        raise ModelError(
            f"{str(folder)!r} is no champion's folder ({_MANIFEST}: {error.strerror}): give one such as runs/NAME/best"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ModelError(
            f"{folder / _MANIFEST} is damaged or no champion's: give a folder such as runs/NAME/best"
        ) from None
    if arch != name:
        raise ModelError(f"the champion in {str(folder)!r} is a {arch}: a {name} can't start from it")
    if weight_file_sha256(folder / _MODEL) != digest:
        raise ModelError(f"{folder / _MODEL} is damaged: its SHA-256 is not the one in {_MANIFEST}")
    return _read_file(folder / _MODEL)


def _read_file(file: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror or error}") from None
    except Exception as error:
        # A damaged pickle can end in any exception. PyTorch's own text would advise to switch the safe loading off.
        reason = "it holds other objects than tensors" if "GLOBAL" in str(error) else "it is damaged or no weight file"
        raise ModelError(f"{file} is not loaded: {reason}; save a model's state_dict() with torch.save") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise ModelError(f"{file} is not loaded: it is no state dict; save a model's state_dict() with torch.save")
    return content
