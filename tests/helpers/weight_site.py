"""A web server on this machine from which tests download resnet18's ImageNet weights."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from models.architecture import DownloadableWeights
from models.registry import ARCHITECTURES


def random_resnet18() -> dict[str, torch.Tensor]:
    """Return torchvision's state dict with random values, also of the batch norms."""
    with torch.device("meta"):
        state = torchvision.models.resnet18().state_dict()
    return {
        key: torch.rand(value.shape) if value.is_floating_point() else torch.full(value.shape, 5)
        for key, value in state.items()
    }


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class Site:
    """A web server on this machine with a resnet18 file, whose name ends in its hash."""

    def __init__(self, folder: Path) -> None:
        saved = folder / "saved"
        torch.save(random_resnet18(), saved)
        self.file = saved.rename(folder / f"resnet18-{hashlib.sha256(saved.read_bytes()).hexdigest()[:8]}.pth")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/{self.file.name}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def download_imagenet_from(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = dataclasses.replace(ARCHITECTURES["resnet18"], weights={"imagenet": DownloadableWeights(url)})
    monkeypatch.setitem(ARCHITECTURES, "resnet18", changed)
