"""Fixtures of the tests of models: one seed, one thread, torch's folder of weights and a server with a weight file."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.small_models import one_seed_one_thread
from tests.helpers.weight_site import Site, download_imagenet_from

__all__ = ["one_seed_one_thread"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give torch an empty home folder; the folder of its weight files."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # urllib keeps the proxies of its first request.
    urllib.request.install_opener(None)
    yield tmp_path / "torch home" / "hub" / "checkpoints"
    urllib.request.install_opener(None)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server from which the test downloads resnet18's `imagenet` weights."""
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    download_imagenet_from(site.url, monkeypatch)
    yield site
    site.stop()
