"""Where weights to start from come from, and how they get into a model."""

from __future__ import annotations

import hashlib
import http.client
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.errors import ModelError
from models.registry import architecture, check_weights

DOWNLOAD_TIMEOUT_S = 20.0
"""Seconds without a byte after which a download is given up."""

# A host has several addresses, each of which may take this long, and a firewall that drops packets lets all of them.
_CONNECT_TIMEOUT_SHARE = 0.25


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


def load_weights(model: nn.Module, name: str, weights: str) -> WeightsReport:
    """Fill a model of the architecture `name` in place.

    Keys go by name: those of the model itself, or those of a torchvision network for the model's `backbone`, each with
    or without DDP's `module.`. What doesn't fit in shape, as a head for other classes, stays as it was.

    Args:
        model: as `build_model` returns it.
        name: its architecture.
        weights: `none`, a name that the architecture knows, or a file with a state dict, bare or under `state_dict`.

    Raises:
        ModelError: the weights can't be had or read, or nothing of them fits outside the head.
    """
    check_weights(name, weights)
    if weights == "none":
        return WeightsReport()
    own, found = model.state_dict(), read_weights(name, weights)
    file_keys = {_own_key(key, own): key for key in found}
    shared = [key for key in own if key in file_keys]
    loaded = {key: found[file_keys[key]] for key in shared if found[file_keys[key]].shape == own[key].shape}
    # Batch norm's counters are scalars, which fit whatever the network.
    if not any(value.dim() > 0 and not key.startswith("head.") for key, value in loaded.items()):
        raise ModelError(f"nothing in {weights!r} fits {name}: it holds {_first(found)}; the model has {_first(own)}")
    model.load_state_dict(loaded, strict=False)
    return WeightsReport(
        loaded=tuple(loaded),
        missing=tuple(key for key in own if key not in file_keys),
        unexpected=tuple(key for own_key, key in file_keys.items() if own_key not in own),
        mismatched=tuple(key for key in shared if key not in loaded),
    )


def _own_key(key: str, own: Mapping[str, torch.Tensor]) -> str:
    bare = key.removeprefix("module.")
    return f"backbone.{bare}" if f"backbone.{bare}" in own else bare


def _first(state: Mapping[str, torch.Tensor]) -> str:
    shown = [f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:3]]
    return ", ".join(shown + ["…"] * (len(state) > 3)) or "nothing"


def read_weights(name: str, weights: str) -> dict[str, torch.Tensor]:
    """The state dict of weights for the architecture `name`: a name that it knows (downloaded if need be), or a file.

    Raises:
        ModelError: they can't be had or read.
    """
    known = architecture(name).weights
    if weights in known:
        return _read_file(_at_hand(known[weights], weights))
    file = Path(weights)
    if not file.is_file():
        raise ModelError(f"{name}'s weights {weights!r} are no file: give the path of one, or set weights to none")
    return _read_file(file)


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


def _at_hand(url: str, weights: str) -> Path:
    """The file in torch's hub folder (`TORCH_HOME`), downloaded there if it isn't yet, its hash compared each time."""
    file = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])
    hash_start = file.stem.rsplit("-", 1)[1]
    if not file.exists():
        _download(url, file, weights, hash_start)
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror or error}") from None
    if not digest.startswith(hash_start):
        raise ModelError(
            f"{file} is damaged or another file: its SHA-256 begins with {digest[:8]}, not {hash_start}; delete it and "
            f"download {url} again"
        )
    return file


def _download(url: str, file: Path, weights: str, hash_start: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        head = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(head, timeout=DOWNLOAD_TIMEOUT_S * _CONNECT_TIMEOUT_SHARE):
            pass
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            torch.hub.download_url_to_file(url, str(file), hash_start, progress=False)
    # torch.hub raises RuntimeError for a wrong hash; URLError, refusals and time-outs are all OSError.
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise ModelError(
            f"the {weights} weights can't be downloaded ({getattr(error, 'reason', None) or error}): get {url} "
            f"elsewhere and put it at {file}, or set weights to none"
        ) from None


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """`torch.hub` takes no timeout: without one a silent server would hold the sweep for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
