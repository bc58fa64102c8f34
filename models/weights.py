"""Load initial weights into a model: by name, from a file, or from a champion's folder."""

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

# Files of a champion's folder.
_MANIFEST, _MODEL = "checkpoint.json", "model.pt"


@dataclass(frozen=True)
class WeightsReport:
    """Which keys of a weight file were loaded into a model, and which were not."""

    loaded: tuple[str, ...] = ()
    """Keys of the model that now have the file's values."""

    missing: tuple[str, ...] = ()
    """Keys of the model that the file lacks; their values stay random."""

    unexpected: tuple[str, ...] = ()
    """Keys of the file that the model lacks."""

    mismatched: tuple[str, ...] = ()
    """Keys of the model that have another shape in the file, such as a head for other classes; their values stay
    random."""

    note: str = ""
    """A remark for the user in one line, such as which model of an ensemble was used; empty if there is none."""


def load_weights(model: nn.Module, name: str, weights: str, weights_dir: Path | None = None) -> WeightsReport:
    """Load weights into a model of the architecture `name`, in place.

    Keys match by name. Accepted are the model's own keys, the keys of the network that it wraps as `backbone`, and the
    keys that the architecture can translate, each with or without DDP's prefix `module.`. Values of another shape, such
    as a head for other classes, are skipped. From an ensemble the first model is used.

    Args:
        model: a model from `build_model`.
        name: its architecture.
        weights: `none`, a name that the architecture has, a file with a state dict (bare or under `state_dict`), or the
            folder of an earlier champion (`checkpoint.json` and `model.pt`).
        weights_dir: folder of downloaded weights; default: torch's own (under `TORCH_HOME`).

    Raises:
        ModelError: the weights cannot be found, downloaded or read, or no value outside the head fits.
    """
    check_weights(name, weights)
    if weights == "none":
        return WeightsReport()
    own, found = model.state_dict(), read_weights(name, weights, weights_dir)
    file_keys, note = _keys_of_one_model(found)
    translated = get_architecture(name).translate({bare: found[key] for bare, key in file_keys.items()})
    entries = {file_keys[bare]: _with_backbone_prefix(entry, own) for bare, entry in translated.items()}
    in_file = {entry.key: entry.value for entry in entries.values()}
    shared = [key for key in own if key in in_file]
    loaded = {key: in_file[key] for key in shared if in_file[key].shape == own[key].shape}
    head = get_architecture(name).head_prefix
    # Batch norm's counters are scalars, which fit every network.
    if not any(value.dim() > 0 and not key.startswith(head) for key, value in loaded.items()):
        raise ModelError(
            f"{weights!r} does not fit {name}: the file has {_first_keys(found)}; the model has {_first_keys(own)}"
        )
    model.load_state_dict(loaded, strict=False)
    return WeightsReport(
        loaded=tuple(loaded),
        missing=tuple(key for key in own if key not in in_file),
        unexpected=tuple(key for key, entry in entries.items() if entry.key not in own),
        mismatched=tuple(key for key in shared if key not in loaded),
        note=note,
    )


def read_weights(name: str, weights: str, weights_dir: Path | None = None) -> dict[str, torch.Tensor]:
    """Read the state dict of weights for the architecture `name`, with the keys of the file.

    Args:
        name: the architecture.
        weights: as for `load_weights`, but not `none`.
        weights_dir: as for `load_weights`.

    Raises:
        ModelError: the weights cannot be found, downloaded or read.
    """
    path = find_weights(name, weights, weights_dir)
    return _read_champion(path, name) if path.is_dir() else _read_file(path)


def find_weights(name: str, weights: str, weights_dir: Path | None = None) -> Path:
    """Return the file, or the champion's folder, of weights for the architecture `name`; download the file if needed.

    Args:
        name: the architecture.
        weights: as for `load_weights`, but not `none`.
        weights_dir: as for `load_weights`.

    Raises:
        ModelError: the weights cannot be found or downloaded, or the file's hash differs.
    """
    known = get_architecture(name).weights
    if weights in known:
        return obtain_weight_file(known[weights], name, weights, weights_dir)
    path = Path(weights)
    if not path.exists():
        raise ModelError(f"{name}'s weights {weights!r} do not exist: give the path of a file, or set weights to none")
    return path


def weights_available(name: str, weights: str, weights_dir: Path | None = None) -> bool:
    """Return whether the weights are on this machine, so that `find_weights` needs no download."""
    known = get_architecture(name).weights
    path = weight_file_path(known[weights], weights_dir) if weights in known else Path(weights)
    return path is not None and path.exists()


def _keys_of_one_model(found: Mapping[str, torch.Tensor]) -> tuple[dict[str, str], str]:
    """Return the file's keys by the bare keys of one model, and the note of the report."""
    keys = {key.removeprefix("module."): key for key in found}
    members = {key.split(".")[1] for key in keys if key.startswith("members.")}
    if not members:
        return keys, ""
    first = {key.removeprefix("members.0."): file_key for key, file_key in keys.items() if key.startswith("members.0.")}
    return first, f"the weights are an ensemble of {len(members)} models: only its first model is used"


def _with_backbone_prefix(entry: WeightEntry, own: Mapping[str, torch.Tensor]) -> WeightEntry:
    prefixed = f"backbone.{entry.key}"
    return WeightEntry(prefixed, entry.value) if prefixed in own else entry


def _first_keys(state: Mapping[str, torch.Tensor]) -> str:
    first = [f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:3]]
    return ", ".join(first + ["…"] * (len(state) > 3)) or "no values"


def _read_champion(folder: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        arch, digest = manifest["trial"]["arch"], manifest["model_sha256"]
    except OSError as error:
        raise ModelError(
            f"{str(folder)!r} is not a champion's folder ({_MANIFEST}: {error.strerror}): give a folder such as "
            "runs/NAME/best"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ModelError(
            f"{folder / _MANIFEST} is damaged or not a champion's: give a folder such as runs/NAME/best"
        ) from None
    if arch != name:
        raise ModelError(f"the champion in {str(folder)!r} is a {arch}: give weights for {name}")
    if weight_file_sha256(folder / _MODEL) != digest:
        raise ModelError(f"{folder / _MODEL} is damaged: its SHA-256 is not the one in {_MANIFEST}; copy it again")
    return _read_file(folder / _MODEL)


def _read_file(file: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror or error}") from None
    except Exception as error:
        # A damaged pickle can raise any exception. PyTorch's own message would advise to disable safe loading.
        reason = (
            "it contains objects other than tensors" if "GLOBAL" in str(error) else "it is damaged or not a weight file"
        )
        raise _not_loaded(file, reason) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise _not_loaded(file, "it is not a state dict")
    return content


def _not_loaded(file: Path, reason: str) -> ModelError:
    return ModelError(f"can't load {file}: {reason}; save a model's state_dict() with torch.save")
