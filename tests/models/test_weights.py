"""Load initial weights into a model."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.registry import check_weights
from models.weights import WeightsReport, load_weights, read_weights
from tests.helpers.checkpoints import MANIFEST, PREDICTIONS, TRIAL
from tests.helpers.small_models import SMALL, build_small, error_message, first_case
from tests.helpers.weight_site import random_resnet18
from tuning.config.schema.train import TrainConfig
from tuning.training.checkpoint import MANIFEST_FILE, MODEL_FILE, TrainingState, load_model, save_checkpoint

TAKE_LONG = ("resnet50", "r3d_18", "r2plus1d_18", "mvit_v2_s", "swin3d_t")
"""Architectures whose files take long to write and are read in the same way as another's."""


@pytest.mark.parametrize("shape", ["bare", "ddp", "nested"])
def test_torchvision_file_fills_the_backbone_only(shape: str, tmp_path: Path) -> None:
    state, file = random_resnet18(), tmp_path / "w.pth"
    saved: dict[str, Any] = {f"module.{key}": value for key, value in state.items()} if shape == "ddp" else state
    torch.save({"state_dict": saved, "epoch": 3} if shape == "nested" else saved, file)
    model = build_small(*first_case("resnet18"))
    head = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("head.")}
    report = load_weights(model, "resnet18", str(file))

    backbone = {f"backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in (backbone | head).items())
    assert set(loaded) == set(backbone | head)
    prefix = "module." if shape == "ddp" else ""
    assert set(report.loaded) == set(backbone)
    assert dataclasses.replace(report, loaded=()) == WeightsReport(
        missing=tuple(head), unexpected=(f"{prefix}fc.weight", f"{prefix}fc.bias")
    )


@pytest.mark.parametrize(
    ("name", "options", "num_frames", "size"), [each for each in SMALL if each[0] not in TAKE_LONG]
)
def test_own_file_loads_completely_or_without_the_last_layer_for_other_classes(
    name: str, options: dict[str, Any], num_frames: int, size: int, tmp_path: Path
) -> None:
    source, file = build_small(name, options, num_frames, size), str(tmp_path / "model.pt")
    prefix = "module." if options.get("batch_norm") else ""
    torch.save({prefix + key: value for key, value in source.state_dict().items()}, file)

    same = build_small(name, options, num_frames, size)
    assert load_weights(same, name, file) == WeightsReport(loaded=tuple(source.state_dict()))
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in same.state_dict().items())

    other = build_small(name, options, num_frames, size, num_classes=5)
    start = {key: value.clone() for key, value in other.state_dict().items()}
    last = tuple(list(start)[-2:])
    report = load_weights(other, name, file)
    assert report == WeightsReport(loaded=tuple(list(start)[:-2]), mismatched=last)
    expected = source.state_dict() | {key: start[key] for key in last}
    assert all(torch.equal(value, expected[key]) for key, value in other.state_dict().items())


def test_report_names_missing_and_unexpected_keys(tmp_path: Path) -> None:
    source = build_small(*first_case("c3d")).state_dict()
    source["teacher.weight"] = source.pop("head.1.weight")
    torch.save(source, tmp_path / "model.pt")
    report = load_weights(build_small(*first_case("c3d")), "c3d", str(tmp_path / "model.pt"))
    assert report.missing == ("head.1.weight",)
    assert report.unexpected == ("teacher.weight",)
    assert report.mismatched == ()


def test_file_without_a_matching_backbone_key_raises(tmp_path: Path) -> None:
    file = str(tmp_path / "w.pth")
    torch.save(random_resnet18(), file)
    assert error_message(load_weights, build_small(*first_case("c3d")), "c3d", file) == (
        f"{file!r} does not fit c3d: the file has conv1.weight (64, 3, 7, 7), bn1.weight (64,), bn1.bias (64,), …; "
        "the model has features.0.0.weight (2, 3, 3, 3, 3), features.0.0.bias (2,), "
        "features.1.0.weight (4, 2, 3, 3, 3), …"
    )
    torch.save({}, file)
    assert "the file has no values; the model has backbone.conv1.weight" in error_message(
        load_weights, build_small(*first_case("resnet18")), "resnet18", file
    )


def test_file_of_which_only_batch_norm_counters_match_raises(tmp_path: Path) -> None:
    options, file = {"batch_norm": True, "head": "pool"}, str(tmp_path / "narrow.pt")
    torch.save(build_small("c3d", {"width": 2, **options}, 8, 48).state_dict(), file)
    model = build_small("c3d", {"width": 3, **options}, 8, 48)
    message = error_message(load_weights, model, "c3d", file)
    assert "does not fit c3d: the file has features.0.0.weight (2, 3, 3, 3, 3)" in message


def test_none_keeps_the_random_weights() -> None:
    model = build_small(*first_case("resnet18"))
    start = {key: value.clone() for key, value in model.state_dict().items()}
    assert load_weights(model, "resnet18", "none") == WeightsReport()
    assert all(torch.equal(value, start[key]) for key, value in model.state_dict().items())


def test_missing_file_raises() -> None:
    message = "c3d's weights 'no/where.pt' do not exist: give the path of a file, or set weights to none"
    assert error_message(read_weights, "c3d", "no/where.pt") == message
    assert error_message(load_weights, build_small(*first_case("c3d")), "c3d", "no/where.pt") == message


class Malicious:
    """Runs a command if it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_of_other_classes_raises_and_runs_no_code(zipped: bool, tmp_path: Path) -> None:
    file, mark = tmp_path / "w.pt", tmp_path / "ran"
    for content in ({"conv1.weight": Malicious(mark)}, nn.Linear(2, 2)):
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        assert error_message(read_weights, "c3d", str(file)) == (
            f"can't load {file}: it contains objects other than tensors; save a model's state_dict() with torch.save"
        )
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04", b"\x80\x02", b'{"a": 1}'])
def test_file_of_another_format_raises(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    assert error_message(read_weights, "c3d", str(tmp_path / "w.pt")).endswith(
        "w.pt: it is damaged or not a weight file; save a model's state_dict() with torch.save"
    )


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"a": 1}, {1: torch.ones(2)}, {"state_dict": 3}])
def test_file_without_a_state_dict_raises(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert "it is not a state dict" in error_message(read_weights, "c3d", str(tmp_path / "w.pt"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_file_raises_only_model_errors(zipped: bool, tmp_path: Path) -> None:
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


def write_champion(folder: Path, name: str, models: Sequence[nn.Module]) -> Path:
    """Write a champion of three classes with a model for each fold, and return its folder."""
    _, options, num_frames, size = first_case(name)
    train = TrainConfig(epochs=3, size=size)
    trial = TRIAL.model_copy(update={"arch": name, "options": options, "num_frames": num_frames, "train": train})
    classes = ("dip", "pull Up", "squat")
    manifest = MANIFEST.model_copy(update={"trial": trial, "classes": classes, "folds": len(models)})
    folder.mkdir(parents=True)
    save_checkpoint(folder, manifest, models, [TrainingState({}, {}, {}) for _ in models], PREDICTIONS)
    return folder


@pytest.mark.parametrize("name", ["resnet18", "c3d"])
def test_earlier_champion_fills_all_but_the_last_layer(name: str, tmp_path: Path) -> None:
    folder = write_champion(tmp_path / "runs/first/best", name, [build_small(*first_case(name))])
    check_weights(name, str(folder))
    model = build_small(*first_case(name), num_classes=5)
    report = load_weights(model, name, str(folder))
    source = load_model(folder)[0].state_dict()
    last = tuple(list(source)[-2:])
    assert report == WeightsReport(loaded=tuple(list(source)[:-2]), mismatched=last)
    assert all(torch.equal(model.state_dict()[key], source[key]) for key in report.loaded)


def test_champion_of_several_folds_gives_its_first_model_and_a_note(tmp_path: Path) -> None:
    members = [build_small(*first_case("c3d")) for _ in range(3)]
    folder = write_champion(tmp_path / "best", "c3d", members)
    model = build_small(*first_case("c3d"))
    report = load_weights(model, "c3d", str(folder))
    first = members[0].state_dict()
    assert report.loaded == tuple(first)
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert report.note == "the weights are an ensemble of 3 models: only its first model is used"
    assert all(torch.equal(value, first[key]) for key, value in model.state_dict().items())


def test_folder_without_a_matching_intact_champion_raises(tmp_path: Path) -> None:
    advice = "give a folder such as runs/NAME/best"
    assert error_message(read_weights, "c3d", str(tmp_path)) == (
        f"{str(tmp_path)!r} is not a champion's folder ({MANIFEST_FILE}: No such file or directory): {advice}"
    )
    folder = write_champion(tmp_path / "best", "c3d", [build_small(*first_case("c3d"))])
    assert error_message(read_weights, "resnet18", str(folder)) == (
        f"the champion in {str(folder)!r} is a c3d: give weights for resnet18"
    )
    content = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(content[:-1])
    assert error_message(read_weights, "c3d", str(folder)) == (
        f"{folder / MODEL_FILE} is damaged: its SHA-256 is not the one in {MANIFEST_FILE}; copy it again"
    )
    for damaged in ("{", "[]", "{}", '{"trial": 3, "model_sha256": ""}'):
        (folder / MANIFEST_FILE).write_text(damaged)
        message = error_message(read_weights, "c3d", str(folder))
        assert message == f"{folder / MANIFEST_FILE} is damaged or not a champion's: {advice}"
    (folder / MODEL_FILE).unlink()
    other = write_champion(tmp_path / "other", "c3d", [build_small(*first_case("c3d"))])
    shutil.copy(other / MANIFEST_FILE, folder)
    assert f"{folder / MODEL_FILE} can't be read" in error_message(read_weights, "c3d", str(folder))
