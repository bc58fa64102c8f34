"""A champion as files for other programs."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from data.loading.transforms import Normalise
from models.registry import ARCHITECTURES, build_model
from tests.helpers.checkpoints import MANIFEST, PREDICTIONS, TRIAL
from tests.helpers.small_models import SMALL, Case, one_seed_one_thread
from tuning.__main__ import main
from tuning.config.load import parse_config, save_config
from tuning.config.run_folder import RunFolder
from tuning.export import exporter as export
from tuning.export.exporter import ExportError, export_champion
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import load_model, save_checkpoint
from tuning.training.learner import TrainingState

__all__ = ["one_seed_one_thread"]

QUICK = {"c3d", "tsm_resnet18"}


def champion(best: Path, case: Case, folds: int = 1) -> None:
    name, options, num_frames, size = case
    train = TRIAL.train.model_copy(update={"size": size, "precision": "fp32"})
    trial = TRIAL.model_copy(update={"arch": name, "options": options, "num_frames": num_frames, "train": train})
    manifest = MANIFEST.model_copy(update={"trial": trial, "folds": folds})
    models = [build_model(name, options, num_classes=2, num_frames=num_frames, size=size) for _ in range(folds)]
    best.mkdir(parents=True)
    save_checkpoint(best, manifest, models, [TrainingState({}, {}, {}) for _ in models], PREDICTIONS)
    Calibration(1.5, 0.75, 0.1, 0.05, 0.9, 20).save(best)


_CONVOLUTIONAL = [each for each in SMALL if each[0] not in ("mvit_v2_s", "swin3d_t")]
"""The exporter's optimiser takes minutes for either of the others; an export is compared with PyTorch in any case."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(each, marks=() if each[0] in QUICK else pytest.mark.slow) for each in _CONVOLUTIONAL],
    ids=["-".join([name, *map(str, options.values())]) for name, options, _, _ in _CONVOLUTIONAL],
)
def test_an_architecture_answers_the_same_as_graph_and_in_onnx(case: Case, tmp_path: Path) -> None:
    name, _, num_frames, size = case
    champion(tmp_path / "best", case)
    exported = export_champion(tmp_path / "best", tmp_path / "out")
    assert exported.difference <= export.TOLERANCE
    model, arch = load_model(tmp_path / "best")[0], ARCHITECTURES[name]
    frames = torch.randint(256, (5, num_frames, 3, size, size), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = model(Normalise(arch.mean, arch.std)(frames))
        graph = torch.export.load(tmp_path / "out/model.pt2").module()(frames)
    session = onnxruntime.InferenceSession(str(tmp_path / "out/model.onnx"), providers=["CPUExecutionProvider"])
    (onnx,) = session.run(None, {"frames": frames.numpy()})
    torch.testing.assert_close(graph, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(onnx), wanted, rtol=0, atol=export.TOLERANCE)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"model.pt2", "model.onnx", "model.json"}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "runs/small")
    champion(run.best, next(each for each in SMALL if each[0] == "c3d"), folds=2)
    save_config(parse_config({"runs_dir": str(tmp_path / "runs"), "space": {"arch": "c3d"}}), run.config)
    return run


def test_the_command_writes_what_must_be_known_beside_the_network(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folds, which answer together."""
    assert main(["export", "--run", str(run.path), "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    settings = json.loads((tmp_path / "out/model.json").read_text())
    assert lines[0] == f"model.pt2, model.onnx and model.json in {tmp_path / 'out'}"
    assert lines[1] == (
        f"ONNX differs from PyTorch by at most {settings['onnx']['greatest_difference']:.2g} a logit "
        "(up to 0.001 is taken)"
    )
    assert len(lines) == 2
    assert settings["classes"] == ["dip", "pull Up"]
    assert settings["input"]["shape"] == ["B", 8, 3, 48, 48]
    assert (settings["temperature"], settings["threshold"], settings["size"]) == (1.5, 0.75, 48)
    assert settings["selection"] == {"num_frames": 8, "kind": "uniform", "stride": 1, "min_span": 1.0}
    assert settings["decode"] == {"frames": 16, "short_side": 64}
    assert settings["versions"]["torch"] == version("torch")


def test_a_missing_package_is_named_with_its_mend(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "--run", str(run.path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error == "error: onnx not installed: python -m pip install -r requirements-export.txt\n"
    assert (Path(__file__).parents[3] / "requirements-export.txt").is_file()
    assert not (tmp_path / "out").exists()


def test_answers_that_differ_too_much_are_refused(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    out = tmp_path / "out"
    with pytest.raises(ExportError, match="^ONNX gives other answers: a logit differs by .*, more than -1$"):
        export_champion(run.best, out)
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"file/out' can't be made: Not a directory"):
        export_champion(run.best, tmp_path / "file/out")


def test_one_clip_is_enough_for_onnx(run: RunFolder, tmp_path: Path) -> None:
    export_champion(run.best, tmp_path / "out")
    session = onnxruntime.InferenceSession(str(tmp_path / "out/model.onnx"), providers=["CPUExecutionProvider"])
    frames = np.random.default_rng(0).integers(0, 256, (1, 8, 3, 48, 48), dtype=np.uint8)
    (logits,) = session.run(None, {"frames": frames})
    assert logits.shape == (1, 2)
