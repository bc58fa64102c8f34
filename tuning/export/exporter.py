"""A champion as files that other programs load: `model.pt2`, `model.onnx`, and `model.json` which says how."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from tuning.errors import TuningError
from tuning.export.graph import FramesToLogits, describe, example_frames, export_graph, load_whole
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest

GRAPH, ONNX, SETTINGS = "model.pt2", "model.onnx", "model.json"
TOLERANCE = 1e-3
"""Most that a logit may differ between PyTorch and ONNX Runtime, both in float32."""

_NEEDS = ("onnx", "onnxscript", "onnxruntime")
_OPSET = 18


class ExportError(TuningError):
    """A champion that can't be exported."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    difference: float
    """The greatest of a logit between PyTorch and ONNX Runtime."""


def export_champion(best: Path, folder: Path) -> Exported:
    """Write a champion's network, and what must be known to use it.

    Both networks take frames uint8 `(B, T, 3, S, S)`, any number of clips B, and give logits float32 `(B, K)`;
    normalisation is inside.

    Args:
        best: the champion's checkpoint.
        folder: is made; what it holds of these files is replaced, once all are known to be good.

    Raises:
        CheckpointError: no checkpoint, or its files are damaged.
        ExportError: packages are missing, the network can't be exported, or its answers differ.
    """
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ExportError(f"{', '.join(missing)} not installed: python -m pip install -r requirements-export.txt")
    whole, manifest = load_whole(best)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{str(folder)!r} can't be made: {error.strerror}") from None
    parts = {name: folder / f".part-{name}" for name in (GRAPH, ONNX, SETTINGS)}
    try:
        program = export_graph(whole, manifest)
        torch.export.save(program, parts[GRAPH])
        _write_onnx(program, parts[ONNX], manifest)
        difference = _difference(whole, manifest, parts[ONNX])
        if not difference <= TOLERANCE:
            raise ExportError(f"ONNX gives other answers: a logit differs by {difference:.3g}, more than {TOLERANCE:g}")
        parts[SETTINGS].write_text(_settings(best, manifest, difference))
        for name, part in parts.items():
            part.replace(folder / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return Exported(folder, difference)


def _write_onnx(program: torch.export.ExportedProgram, file: Path, manifest: Manifest) -> None:
    try:
        with _silent():
            made = torch.onnx.export(
                program,
                input_names=["frames"],
                output_names=["logits"],
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            assert made is not None
            made.save(str(file), external_data=False)
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"{manifest.trial.arch} can't be written as ONNX: {first[:300]}") from None


def _difference(whole: FramesToLogits, manifest: Manifest, file: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    worst = 0.0
    # Not the number of clips that it was exported with.
    for clips in (1, 3):
        frames = example_frames(manifest, clips, seed=clips)
        with torch.inference_mode():
            wanted = whole(frames)
        found = torch.from_numpy(session.run(["logits"], {"frames": frames.numpy()})[0])
        if found.shape != wanted.shape:
            raise ExportError(f"ONNX gives answers of shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
        # Of a NaN the maximum is NaN, which is within no tolerance.
        worst = max(worst, float((found - wanted).abs().max()), key=lambda value: (value != value, value))
    return worst


def _settings(best: Path, manifest: Manifest, difference: float) -> str:
    trial = manifest.trial
    settings = describe(manifest, Calibration.load(best))
    shape = ["B", trial.num_frames, 3, trial.train.size, trial.train.size]
    plain = {
        **{key: value for key, value in settings.items() if key not in ("precision", "at_once")},
        "arch": trial.arch,
        "input": {"name": "frames", "dtype": "uint8", "shape": shape, "order": "RGB"},
        "output": {"name": "logits", "dtype": "float32", "shape": ["B", len(manifest.classes)]},
        "probabilities": "softmax(logits / temperature)",
        "onnx": {"opset": _OPSET, "greatest_difference": difference},
        "versions": {name: version(name) for name in ("torch", *_NEEDS)},
    }
    return json.dumps(plain, indent=1) + "\n"


@contextmanager
def _silent() -> Iterator[None]:
    """The exporter tells of each of its steps, and of what it does not need."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
