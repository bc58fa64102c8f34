"""Architectures, their options, and where their first weights come from."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import hashlib
import http.server
import itertools
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from models import weights as weights_module
from models.c3d import C3DConfig
from models.ensemble import Ensemble
from models.errors import ModelError
from models.registry import ARCHITECTURES, architecture, build_model, check_weights, parse_options
from models.resnet18 import ResNet18Config
from models.weights import WeightsReport, load_weights, read_weights

# Small enough for one core: name, options, frames, size.
SMALL: list[tuple[str, dict[str, Any], int, int]] = [
    ("resnet18", {"hidden": 8}, 3, 32),
    ("c3d", {"width": 2, "fc": 8}, 8, 48),
    ("c3d", {"width": 2, "batch_norm": True, "head": "pool"}, 8, 48),
]


def small(name: str, options: dict[str, Any], num_frames: int, size: int, num_classes: int = 3) -> nn.Module:
    return build_model(name, options, num_classes=num_classes, num_frames=num_frames, size=size)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def refusal(function: Any, *args: Any, **kwargs: Any) -> str:
    """The message, one line, of the ModelError that a call ends in."""
    with pytest.raises(ModelError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    return message


@pytest.fixture(autouse=True)
def _one_seed_one_thread() -> Iterator[None]:
    """On models as small as these, threads that wait for each other on a busy machine cost minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "options", "num_frames", "size"), SMALL)
def test_clips_of_any_batch_give_a_logit_a_class(
    name: str, options: dict[str, Any], num_frames: int, size: int
) -> None:
    model = small(name, options, num_frames, size).eval()
    for batch in (1, 2):
        logits = model(torch.randn(batch, num_frames, 3, size, size))
        assert logits.shape == (batch, 3)
        assert logits.dtype == torch.float32


@pytest.mark.parametrize("num_frames", [8, 16, 24, 40, 64])
@pytest.mark.parametrize("head", ["fc", "pool"])
def test_c3d_takes_each_of_its_frame_counts(num_frames: int, head: str) -> None:
    model = small("c3d", {"width": 1, "head": head} | ({"fc": 4} if head == "fc" else {}), num_frames, 48).eval()
    assert model(torch.randn(1, num_frames, 3, 48, 48)).shape == (1, 3)


@pytest.mark.parametrize("size", [48, 50, 63, 112, 224])
def test_c3d_takes_each_of_its_sizes(size: int) -> None:
    model = small("c3d", {"width": 1, "fc": 4}, 8, size).eval()
    assert model(torch.randn(1, 8, 3, size, size)).shape == (1, 3)


@pytest.mark.parametrize(("num_frames", "size"), [(1, 32), (128, 32), (1, 33), (1, 512)])
def test_resnet18_takes_the_ends_of_its_ranges(num_frames: int, size: int) -> None:
    model = small("resnet18", {"hidden": 4}, num_frames, size).eval()
    assert model(torch.randn(1, num_frames, 3, size, size)).shape == (1, 3)


@pytest.mark.parametrize(("num_classes", "published"), [(487, 79_991_015), (101, 78_409_573)])
def test_c3d_has_the_papers_parameters(num_classes: int, published: int) -> None:
    channels = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    convolutions = sum(27 * before * after + after for before, after in itertools.pairwise(channels))
    layers = [512 * 1 * 4 * 4, 4096, 4096, num_classes]
    fully_connected = sum(before * after + after for before, after in itertools.pairwise(layers))
    assert convolutions + fully_connected == published
    with torch.device("meta"):
        model = build_model("c3d", {}, num_classes=num_classes, num_frames=16, size=112)
    assert parameters(model) == published


def test_c3d_grows_with_its_width() -> None:
    model = small("c3d", {"width": 3, "head": "pool"}, 8, 48)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv3d)]
    assert [convolution.out_channels for convolution in convolutions] == [3, 6, 12, 12, 24, 24, 24, 24]
    assert [module.in_features for module in model.modules() if isinstance(module, nn.Linear)] == [24]


def test_batch_norm_follows_each_convolution() -> None:
    model = small("c3d", {"width": 2, "batch_norm": True, "head": "pool"}, 8, 48)
    assert sum(isinstance(module, nn.BatchNorm3d) for module in model.modules()) == 8
    assert not any(isinstance(module, nn.BatchNorm3d) for module in small(*SMALL[1]).modules())


def test_resnet18_has_torchvisions_parameters_and_two_layers() -> None:
    classifier = 512 * 1000 + 1000
    head = 512 * 256 + 256 + 256 * 22 + 22
    with torch.device("meta"):
        model = build_model("resnet18", {}, num_classes=22, num_frames=8, size=112)
        backbone = torchvision.models.resnet18()
    assert parameters(model) == parameters(backbone) - classifier + head
    assert parameters(backbone) == 11_689_512


@pytest.mark.parametrize(("name", "options", "num_frames", "size"), SMALL)
def test_a_trained_model_comes_back_from_its_state_dict(
    name: str, options: dict[str, Any], num_frames: int, size: int, tmp_path: Path
) -> None:
    model = small(name, options, num_frames, size)
    start = {key: value.clone() for key, value in model.named_parameters()}
    clips, labels = torch.randn(4, num_frames, 3, size, size), torch.tensor([0, 1, 2, 0])
    nn.functional.cross_entropy(model(clips), labels).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    still = [key for key, value in model.named_parameters() if torch.equal(value, start[key])]
    assert still == []

    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = small(name, options, num_frames, size)
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(model.eval()(clips), other.eval()(clips))


@pytest.mark.parametrize(("name", "options", "num_frames", "size"), SMALL)
def test_the_same_seed_gives_the_same_model(name: str, options: dict[str, Any], num_frames: int, size: int) -> None:
    torch.manual_seed(7)
    first = small(name, options, num_frames, size).state_dict()
    torch.manual_seed(7)
    second = small(name, options, num_frames, size).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    third = small(name, options, num_frames, size).state_dict()
    assert any(not torch.equal(first[key], third[key]) for key in first)


def test_the_frame_average_is_blind_to_order_and_c3d_is_not() -> None:
    clips = torch.randn(2, 8, 3, 48, 48)
    backwards = clips.flip(1)
    average = small("resnet18", {"hidden": 8}, 8, 48).eval()
    c3d = small("c3d", {"width": 4, "fc": 8}, 8, 48).eval()
    with torch.no_grad():
        torch.testing.assert_close(average(clips), average(backwards), rtol=1e-4, atol=1e-5)
        assert (average(clips[:1]) - average(clips[1:])).abs().max() > 1e-3
        assert (c3d(clips) - c3d(backwards)).abs().max() > 1e-3


def test_the_frame_average_is_the_mean_of_single_frames_features() -> None:
    model = small("resnet18", {"hidden": 8}, 3, 32).eval()
    clip = torch.randn(1, 3, 3, 32, 32)
    with torch.no_grad():
        features = torch.stack([model.get_submodule("backbone")(clip[:, t]) for t in range(3)]).mean(0)
        torch.testing.assert_close(model.get_submodule("head")(features), model(clip))


def moving_bars() -> tuple[torch.Tensor, torch.Tensor]:
    """Clips whose class is the way that a bar moves: no single frame tells it."""
    labels = torch.arange(8) % 2
    clips = torch.rand(8, 8, 3, 48, 48) * 0.2
    for clip, label in zip(clips, labels.tolist(), strict=True):
        start = int(torch.randint(48, ()))
        for t, frame in enumerate(clip):
            left = (start + (4 * t if label else -4 * t)) % 48
            frame[:, :, left : left + 6] += 1
    return (clips - 0.4) / 0.22, labels


def test_plain_c3d_learns_from_scratch() -> None:
    clips, labels = moving_bars()
    model = small("c3d", {"width": 8, "fc": 64}, 8, 48, num_classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert loss.item() < 0.05
    assert torch.equal(model.eval()(clips).argmax(1), labels)


def test_plain_c3d_keeps_the_signal_up_to_the_last_convolution() -> None:
    model = small("c3d", {"width": 16, "head": "pool"}, 8, 48)
    with torch.no_grad():
        up_to_last = nn.Sequential(*list(model.get_submodule("features").children())[:-2])
        last = up_to_last(torch.randn(2, 3, 8, 48, 48))
    assert 0.05 < last.std() < 5


@pytest.mark.parametrize(
    ("name", "num_frames", "size", "message"),
    [
        ("resnet18", 0, 112, "resnet18 can't take 0 frames: it takes 1 to 128"),
        ("resnet18", 129, 112, "resnet18 can't take 129 frames: it takes 1 to 128"),
        ("resnet18", 8, 31, "resnet18 can't take frames of size 31: it takes 32 to 512"),
        ("resnet18", 8, 513, "resnet18 can't take frames of size 513: it takes 32 to 512"),
        ("c3d", 0, 112, "c3d can't take 0 frames: it takes multiples of 8 from 8 to 64"),
        ("c3d", 12, 112, "c3d can't take 12 frames: it takes multiples of 8 from 8 to 64"),
        ("c3d", 72, 112, "c3d can't take 72 frames: it takes multiples of 8 from 8 to 64"),
        ("c3d", 16, 47, "c3d can't take frames of size 47: it takes 48 to 224"),
        ("c3d", 16, 225, "c3d can't take frames of size 225: it takes 48 to 224"),
    ],
)
def test_frame_counts_and_sizes_out_of_range_are_refused(name: str, num_frames: int, size: int, message: str) -> None:
    assert refusal(architecture(name).check, num_frames, size) == message
    assert refusal(build_model, name, {}, num_classes=2, num_frames=num_frames, size=size) == message


def test_an_unknown_architecture_names_the_nearest() -> None:
    assert refusal(architecture, "resnet-18") == "no architecture is called 'resnet-18'; did you mean 'resnet18'?"
    assert refusal(architecture, "vit") == "no architecture is called 'vit'; there are resnet18, c3d"


def test_options_become_a_config() -> None:
    assert parse_options("resnet18", {}) == ResNet18Config(hidden=256, dropout=0.5)
    assert parse_options("resnet18", {"dropout": 0}) == ResNet18Config(dropout=0.0)
    assert parse_options("c3d", {"head": "pool", "batch_norm": True}) == C3DConfig(batch_norm=True, head="pool")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("c3d", {"widht": 8}, "c3d has no option 'widht'; did you mean 'width'?"),
        ("resnet18", {"width": 8}, "resnet18 has no option 'width'; there are hidden, dropout, subtract_mean_frame"),
        ("resnet18", {3: 8}, "resnet18 has no option 3; there are hidden, dropout, subtract_mean_frame"),
        ("c3d", {"width": "8"}, "c3d's width is '8': Input should be a valid integer"),
        ("c3d", {"width": 8.0}, "c3d's width is 8.0: Input should be a valid integer"),
        ("c3d", {"width": True}, "c3d's width is True: Input should be a valid integer"),
        ("c3d", {"width": None}, "c3d's width is None: Input should be a valid integer"),
        (
            "c3d",
            {"width": datetime.date(2020, 1, 1)},
            "c3d's width is datetime.date(2020, 1, 1): Input should be a valid integer",
        ),
        ("c3d", {"batch_norm": 1}, "c3d's batch_norm is 1: Input should be a valid boolean"),
        ("c3d", {"head": "poll"}, "c3d's head is 'poll': Input should be 'fc' or 'pool'"),
        ("c3d", {"width": 0}, "c3d's width is 0: it must be 1 or more"),
        ("c3d", {"fc": -1}, "c3d's fc is -1: it must be 1 or more"),
        ("c3d", {"dropout": 1.0}, "c3d's dropout is 1: it must be from 0 to below 1"),
        ("c3d", {"dropout": float("nan")}, "c3d's dropout is nan: it must be from 0 to below 1"),
        (
            "c3d",
            {"head": "pool", "fc": 64},
            "c3d's fc (64) has no effect with head: pool; leave it out, or set head: fc",
        ),
        ("resnet18", {"hidden": 0}, "resnet18's hidden is 0: it must be 1 or more"),
        ("resnet18", {"dropout": -0.1}, "resnet18's dropout is -0.1: it must be from 0 to below 1"),
    ],
)
def test_options_of_another_name_type_or_range_are_refused(name: str, options: dict[Any, Any], message: str) -> None:
    assert refusal(parse_options, name, options) == message


def test_weights_that_an_architecture_cannot_have_are_refused_unread() -> None:
    wanted = "the path of a file (with a suffix or a /)"
    assert refusal(check_weights, "c3d", "imagenet") == f"c3d has no weights 'imagenet': set none or {wanted}"
    assert refusal(check_weights, "resnet18", "imagnet") == (
        f"resnet18 has no weights 'imagnet': set imagenet, none or {wanted}"
    )
    for name, allowed in [("resnet18", "imagenet"), ("c3d", "none"), ("c3d", "w.pt"), ("c3d", "./w"), ("c3d", "/w/x")]:
        check_weights(name, allowed)


def test_the_named_weights_are_torchvisions() -> None:
    theirs = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    arch = architecture("resnet18")
    assert arch.weights == {"imagenet": theirs.url}
    assert (list(arch.mean), list(arch.std)) == (theirs.transforms().mean, theirs.transforms().std)


def bare_resnet18() -> dict[str, torch.Tensor]:
    """torchvision's state dict, random, its batch norms off their start too."""
    state = torchvision.models.resnet18().state_dict()
    return {key: torch.rand_like(value) if value.is_floating_point() else value + 5 for key, value in state.items()}


@pytest.mark.parametrize("shape", ["bare", "ddp", "nested"])
def test_a_torchvision_file_fills_the_backbone_and_nothing_else(shape: str, tmp_path: Path) -> None:
    state, file = bare_resnet18(), tmp_path / "w.pth"
    saved: dict[str, Any] = {f"module.{key}": value for key, value in state.items()} if shape == "ddp" else state
    torch.save({"state_dict": saved, "epoch": 3} if shape == "nested" else saved, file)
    model = small(*SMALL[0])
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


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(("name", "options", "num_frames", "size"), SMALL)
def test_a_models_own_file_comes_back_whole_and_without_its_last_layer_for_other_classes(
    name: str, options: dict[str, Any], num_frames: int, size: int, prefix: str, tmp_path: Path
) -> None:
    source, file = small(name, options, num_frames, size), str(tmp_path / "model.pt")
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
    source = small(*SMALL[1]).state_dict()
    source["teacher.weight"] = source.pop("head.1.weight")
    torch.save(source, tmp_path / "model.pt")
    report = load_weights(small(*SMALL[1]), "c3d", str(tmp_path / "model.pt"))
    assert report.missing == ("head.1.weight",)
    assert report.unexpected == ("teacher.weight",)
    assert report.mismatched == ()


def test_a_file_of_which_no_backbone_key_fits_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "w.pth")
    torch.save(bare_resnet18(), file)
    assert refusal(load_weights, small(*SMALL[1]), "c3d", file) == (
        f"nothing in {file!r} fits c3d: it holds conv1.weight (64, 3, 7, 7), bn1.weight (64,), bn1.bias (64,), …; "
        "the model has features.0.weight (2, 3, 3, 3, 3), features.0.bias (2,), features.3.weight (4, 2, 3, 3, 3), …"
    )
    torch.save({}, file)
    assert "it holds nothing; the model has backbone.conv1.weight" in refusal(
        load_weights, small(*SMALL[0]), "resnet18", file
    )


def test_batch_norms_counters_alone_are_no_fit(tmp_path: Path) -> None:
    options, file = {"batch_norm": True, "head": "pool"}, str(tmp_path / "narrow.pt")
    torch.save(small("c3d", {"width": 2, **options}, 8, 48).state_dict(), file)
    model = small("c3d", {"width": 3, **options}, 8, 48)
    assert "fits c3d: it holds features.0.weight (2, 3, 3, 3, 3)" in refusal(load_weights, model, "c3d", file)


def test_none_leaves_a_model_as_it_is() -> None:
    model = small(*SMALL[0])
    start = {key: value.clone() for key, value in model.state_dict().items()}
    assert load_weights(model, "resnet18", "none") == WeightsReport()
    assert all(torch.equal(value, start[key]) for key, value in model.state_dict().items())


def test_a_missing_file_is_refused() -> None:
    message = "c3d's weights 'no/where.pt' are no file: give the path of one, or set weights to none"
    assert refusal(read_weights, "c3d", "no/where.pt") == message
    assert refusal(load_weights, small(*SMALL[1]), "c3d", "no/where.pt") == message


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
    changed = dataclasses.replace(ARCHITECTURES["resnet18"], weights={"imagenet": url})
    monkeypatch.setitem(ARCHITECTURES, "resnet18", changed)


def test_named_weights_are_downloaded_once_and_then_read_from_the_hub_folder(hub: Path, site: Site) -> None:
    read_weights("resnet18", "imagenet")
    assert [file.name for file in hub.iterdir()] == [site.file.name]
    site.server.shutdown()
    site.server.server_close()
    model = small(*SMALL[0])
    report = load_weights(model, "resnet18", "imagenet")
    state = torch.load(site.file, weights_only=True)
    assert torch.equal(model.state_dict()["backbone.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert (len(report.loaded), len(report.missing), report.unexpected) == (120, 4, ("fc.weight", "fc.bias"))


def test_a_download_with_another_hash_is_refused_and_not_kept(hub: Path, site: Site) -> None:
    site.file.write_bytes(site.file.read_bytes()[:-1] + b"x")
    message = refusal(read_weights, "resnet18", "imagenet")
    assert "the imagenet weights can't be downloaded (invalid hash value" in message
    assert list(hub.iterdir()) == []


def test_a_file_that_the_site_lacks_is_named(hub: Path, site: Site) -> None:
    site.file.unlink()
    assert refusal(read_weights, "resnet18", "imagenet") == (
        f"the imagenet weights can't be downloaded (File not found): get {site.url} elsewhere and put it at "
        f"{hub / site.file.name}, or set weights to none"
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
    assert refusal(load_weights, small(*SMALL[0]), "resnet18", "imagenet") == message
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
        "the imagenet weights can't be downloaded "
        f"([Errno {errno.ECONNREFUSED}] Connection refused): get "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth elsewhere and put it at "
        f"{hub / 'resnet18-f37072fd.pth'}, or set weights to none"
    )


def test_a_silent_server_is_given_up(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "DOWNLOAD_TIMEOUT_S", 0.8)
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
    monkeypatch.setattr(weights_module, "DOWNLOAD_TIMEOUT_S", 0.8)
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


def test_importing_the_registry_does_not_import_torchvision() -> None:
    script = "import sys, models.registry, models.weights; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1]).returncode == 0


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_still_background_makes_no_difference_once_the_mean_frame_is_subtracted(name: str) -> None:
    torch.manual_seed(0)
    frames, background = torch.randn(2, 8, 3, 48, 48), torch.randn(2, 1, 3, 48, 48)
    small = {"c3d": {"width": 4, "head": "pool"}, "resnet18": {"hidden": 8}}[name]
    for subtract in (True, False):
        options = {**small, "subtract_mean_frame": subtract}
        model = build_model(name, options, num_classes=3, num_frames=8, size=48).eval()
        with torch.no_grad():
            same = torch.allclose(model(frames), model(frames + background), atol=1e-4)
        assert same == subtract


def test_a_single_frame_less_its_own_mean_is_refused() -> None:
    with pytest.raises(ModelError, match="^resnet18 with subtract_mean_frame can't take 1 frame"):
        build_model("resnet18", {"subtract_mean_frame": True}, num_classes=2, num_frames=1, size=48)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_c3d_convolution_in_bf16_has_the_gradient_of_fp32(length: int) -> None:
    convolution = next(m for m in small_c3d(width=16).modules() if isinstance(m, torch.nn.Conv3d))
    torch.manual_seed(0)
    clip, gradients = torch.randn(4, 3, length, 24, 24), []
    for bf16 in (False, True):
        convolution.zero_grad()
        # Memory that is read before it is written shows as NaN.
        _poison()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            result = convolution(clip)
        weighting = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        _poison()
        result.backward(weighting.to(result.dtype))
        assert convolution.weight.grad is not None
        gradients.append(convolution.weight.grad.clone())
    error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert error < 0.02
    padded = torch.nn.functional.conv3d(clip, convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(convolution(clip), padded)


def small_c3d(width: int) -> torch.nn.Module:
    options = {"width": width, "head": "pool"}
    return build_model("c3d", options, num_classes=2, num_frames=16, size=48)


def _poison() -> None:
    blocks = [torch.full((2**power,), float("nan")) for power in range(8, 24) for _ in range(3)]
    del blocks


def test_an_ensemble_answers_with_the_mean_probability() -> None:
    members = [small(*SMALL[0]).eval() for _ in range(2)]
    frames = torch.randn(2, 8, 3, 64, 64)
    with torch.inference_mode():
        answer = Ensemble(members)(frames)
        mean = torch.stack([member(frames).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(answer.softmax(1), mean)
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(2))
