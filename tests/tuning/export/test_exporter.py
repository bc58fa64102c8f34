"""A champion exported to a PyTorch graph and to ONNX returns what its checkpoint returns."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from data.errors import DataError
from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES, build_model
from tests.helpers.checkpoints import MANIFEST, PREDICTIONS, TRIAL
from tests.helpers.shallow_networks import use_shallow_networks
from tests.helpers.small_models import SMALL, Case, one_seed_one_thread, one_thread
from tuning.__main__ import main
from tuning.config.load import parse_config, save_config
from tuning.config.run_folder import RunFolder
from tuning.export import exporter
from tuning.export.check import check_export
from tuning.export.exporter import ExportError, export_champion
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import load_model, save_checkpoint
from tuning.training.learner import TrainingState

__all__ = ["one_seed_one_thread"]

QUICK = {"c3d", "tsm_resnet18"}

FULL_DEPTH = SMALL[0]
"""The case that is exported with all its blocks; the other deep networks have one or two of each kind."""


def save_champion(best: Path, case: Case, folds: int = 1) -> None:
    name, options, num_frames, size = case
    train = TRIAL.train.model_copy(update={"size": size, "precision": "fp32"})
    trial = TRIAL.model_copy(update={"arch": name, "options": options, "num_frames": num_frames, "train": train})
    manifest = MANIFEST.model_copy(update={"trial": trial, "folds": folds})
    models = [build_model(name, options, num_classes=2, num_frames=num_frames, size=size) for _ in range(folds)]
    best.mkdir(parents=True)
    save_checkpoint(best, manifest, models, [TrainingState({}, {}, {}) for _ in models], PREDICTIONS)
    Calibration(1.5, 0.75, 0.1, 0.05, 0.9, 20).save(best)


_CONVOLUTIONAL = [case for case in SMALL if case[0] not in ("mvit_v2_s", "swin3d_t")]
"""The exporter takes minutes for the two transformers; every export compares ONNX with PyTorch anyway."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case[0] in QUICK else pytest.mark.slow) for case in _CONVOLUTIONAL],
    ids=["-".join([name, *map(str, options.values())]) for name, options, _, _ in _CONVOLUTIONAL],
)
def test_exported_networks_return_the_logits_of_the_checkpoint(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case is not FULL_DEPTH:
        use_shallow_networks(monkeypatch)
    name, _, num_frames, size = case
    save_champion(tmp_path / "best", case)
    exported = export_champion(tmp_path / "best", tmp_path / "out")
    assert exported.difference <= exporter.TOLERANCE
    model, arch = load_model(tmp_path / "best")[0], ARCHITECTURES[name]
    frames = torch.randint(256, (5, num_frames, 3, size, size), dtype=torch.uint8)
    normalise, graph = Normalise(arch.mean, arch.std), torch.export.load(tmp_path / "out/model.pt2").module()
    with torch.inference_mode():
        expected, found = model(normalise(frames)), graph(frames)
        with torch.autocast("cpu", torch.bfloat16):
            expected_bf16, found_bf16 = model(normalise(frames)).float(), graph(frames)
    session = onnxruntime.InferenceSession(str(tmp_path / "out/model.onnx"), providers=["CPUExecutionProvider"])
    (onnx,) = session.run(None, {"frames": frames.numpy()})
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found_bf16, expected_bf16, rtol=0, atol=1e-2)
    torch.testing.assert_close(torch.from_numpy(onnx), expected, rtol=0, atol=exporter.TOLERANCE)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"model.pt2", "model.onnx", "model.json"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose champion has two folds, which are exported as one network."""
    runs = tmp_path_factory.mktemp("runs")
    run = RunFolder(runs / "small")
    save_champion(run.best, next(case for case in SMALL if case[0] == "c3d"), folds=2)
    save_config(parse_config({"runs_dir": str(runs), "space": {"arch": "c3d"}}), run.config)
    return run


@pytest.fixture(scope="module")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to which the command exported the run."""
    folder = tmp_path_factory.mktemp("export") / "out"
    with one_thread():
        assert main(["export", "--run", str(run.path), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def converted(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the ONNX model from `exported` instead of converting the network again."""
    monkeypatch.setattr(
        exporter, "_write_onnx", lambda program, file, manifest: shutil.copy(exported / "model.onnx", file)
    )


def test_command_writes_the_settings_of_the_network(
    run: RunFolder, converted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--run", str(run.path), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    settings = json.loads((tmp_path / "out/model.json").read_text())
    assert lines == [
        f"model.pt2, model.onnx and model.json in {tmp_path / 'out'}",
        f"a logit differs between ONNX and PyTorch by at most {settings['onnx']['greatest_difference']:.2g} "
        "(accepted: 0.001)",
    ]
    assert settings["classes"] == ["dip", "pull Up"]
    assert settings["input"]["shape"] == ["B", 8, 3, 48, 48]
    assert (settings["temperature"], settings["threshold"], settings["size"]) == (1.5, 0.75, 48)
    assert settings["selection"] == {"num_frames": 8, "kind": "uniform", "stride": 1, "min_span": 1.0}
    assert settings["decode"] == {"frames": 16, "short_side": 64}
    assert settings["versions"]["torch"] == version("torch")


def test_missing_package_is_named_with_the_command_that_installs_it(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "--run", str(run.path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error == "error: onnx not installed; install with: python -m pip install -r requirements-export.txt\n"
    assert (Path(__file__).parents[3] / "requirements-export.txt").is_file()
    assert not (tmp_path / "out").exists()


def test_too_large_a_difference_raises_and_leaves_no_files(
    run: RunFolder, converted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "TOLERANCE", -1.0)
    out = tmp_path / "out"
    with pytest.raises(ExportError, match="^a logit of the ONNX model differs from PyTorch's by .*, more than -1;"):
        export_champion(run.best, out)
    assert not out.exists()


def test_folder_that_cannot_be_created_raises(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can't write to '.*file/out'; give another folder"):
        export_champion(run.best, tmp_path / "file/out")


def test_export_replaces_an_earlier_export_only(
    run: RunFolder, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_export(exported)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/model.onnx").write_bytes(b"weeks of work")
    assert main(["export", "--run", str(run.path), "--out", str(tmp_path / "mine")]) == 2
    expected = f"error: '{tmp_path}/mine/model.onnx' exists: give another name, or remove it\n"
    assert capsys.readouterr().err == expected
    assert (tmp_path / "mine/model.onnx").read_bytes() == b"weeks of work"


def test_onnx_model_accepts_a_single_clip(exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    frames = np.random.default_rng(0).integers(0, 256, (1, 8, 3, 48, 48), dtype=np.uint8)
    (logits,) = session.run(None, {"frames": frames})
    assert logits.shape == (1, 2)
