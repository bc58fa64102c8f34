"""Find, download and check the files of named weights."""

from __future__ import annotations

import errno
import hashlib
import http.server
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import torch

from models import weight_files
from models.weights import load_weights, read_weights
from tests.helpers.small_models import build_small, error_message, first_case
from tests.helpers.weight_site import QuietHandler, Site, download_imagenet_from, random_resnet18
from tuning.config.load import parse_config
from tuning.config.trial_config import TrialConfig
from tuning.prepare.weights import prepare_weights
from tuning.training.fold import initial_model
from tuning.training.trial_data import TrialData


def test_named_weights_are_downloaded_once(hub: Path, site: Site) -> None:
    read_weights("resnet18", "imagenet")
    assert [file.name for file in hub.iterdir()] == [site.file.name]
    site.stop()
    model = build_small(*first_case("resnet18"))
    report = load_weights(model, "resnet18", "imagenet")
    state = torch.load(site.file, weights_only=True)
    assert torch.equal(model.state_dict()["backbone.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert (len(report.loaded), len(report.missing), report.unexpected) == (120, 4, ("fc.weight", "fc.bias"))


def test_download_with_a_wrong_hash_raises_and_is_removed(hub: Path, site: Site) -> None:
    site.file.write_bytes(site.file.read_bytes()[:-1] + b"x")
    message = error_message(read_weights, "resnet18", "imagenet")
    assert "resnet18's imagenet weights can't be downloaded (invalid hash value" in message
    assert list(hub.iterdir()) == []


def test_file_that_the_site_lacks_raises_and_says_where_to_put_it(hub: Path, site: Site) -> None:
    site.file.unlink()
    assert error_message(read_weights, "resnet18", "imagenet") == (
        f"resnet18's imagenet weights can't be downloaded (File not found): get {site.url} elsewhere (python -m models "
        f"fetch resnet18:imagenet) and put it at {hub / site.file.name}, or set weights to none"
    )


def test_local_file_with_a_wrong_hash_raises_and_is_kept(hub: Path) -> None:
    hub.mkdir(parents=True)
    file = hub / "resnet18-f37072fd.pth"
    torch.save(random_resnet18(), file)
    found = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    message = (
        f"{file} is damaged or another file: its SHA-256 starts with {found}, not f37072fd; delete it and download "
        f"{url} again"
    )
    assert error_message(read_weights, "resnet18", "imagenet") == message
    assert error_message(load_weights, build_small(*first_case("resnet18")), "resnet18", "imagenet") == message
    assert file.exists()


def test_no_network_raises_soon(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Nobody listens on this port, so the connection is refused on machines with a network too.
        proxy = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", proxy.replace("//", "//anna:geheim99@"))
        started = time.monotonic()
        message = error_message(read_weights, "resnet18", "imagenet")
    assert time.monotonic() - started < 5
    assert message == (
        f"resnet18's imagenet weights can't be downloaded through the proxy {proxy} "
        f"([Errno {errno.ECONNREFUSED}] Connection refused): get "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth elsewhere (python -m models fetch "
        f"resnet18:imagenet) and put it at {hub / 'resnet18-f37072fd.pth'}, or set weights to none"
    )


def test_silent_server_times_out(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "DOWNLOAD_TIMEOUT_S", 0.8)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        download_imagenet_from(f"http://127.0.0.1:{silent.getsockname()[1]}/resnet18-f37072fd.pth", monkeypatch)
        started = time.monotonic()
        assert "can't be downloaded (timed out)" in error_message(read_weights, "resnet18", "imagenet")
    assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None


def test_stalled_download_times_out(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stalls(QuietHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(b"PK")
            finished.wait(30)

    finished = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(weight_files, "DOWNLOAD_TIMEOUT_S", 0.8)
    download_imagenet_from(f"http://127.0.0.1:{server.server_port}/resnet18-f37072fd.pth", monkeypatch)
    started = time.monotonic()
    assert "can't be downloaded (timed out)" in error_message(read_weights, "resnet18", "imagenet")
    assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None
    assert list(hub.iterdir()) == []
    finished.set()
    server.shutdown()
    server.server_close()


def test_unusable_hub_folder_raises_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    assert str(tmp_path / "file") in error_message(read_weights, "resnet18", "imagenet")


def test_weights_dir_replaces_torchs_own_folder(hub: Path, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    read_weights("resnet18", "imagenet", folder)
    assert [file.name for file in folder.iterdir()] == [site.file.name]
    assert not hub.exists()
    site.stop()
    report = load_weights(build_small(*first_case("resnet18")), "resnet18", "imagenet", folder)
    assert len(report.loaded) == 120
    assert "can't be downloaded" in error_message(read_weights, "resnet18", "imagenet")


def test_sweep_and_trials_use_weights_dir(hub: Path, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(site.file, folder)
    site.stop()
    config = parse_config(
        {
            "weights_dir": str(folder),
            "models": {"resnet18": {"hidden": 8, "weights": "imagenet"}},
            "space": {"arch": "resnet18", "num_frames": 3},
            "train": {"size": 32},
        }
    )
    (report,) = prepare_weights(config, num_classes=3).values()
    assert len(report.loaded) == 120
    (subspace,) = config.subspaces()
    trial = TrialConfig.from_choice(config, {axis: subspace.values(axis)[0] for axis in subspace.axes})
    decode = config.store.decode_settings()
    data = TrialData(classes=("a", "b"), split_sha256="", frame_store=config.store, decode=decode, folds=())
    state = torch.load(site.file, weights_only=True)
    for model in (initial_model(trial, data, fold=0), initial_model(trial, data, fold=1)):
        assert torch.equal(model.state_dict()["backbone.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert not hub.exists()
