"""Export a champion as files that other programs load: `model.pt2`, `model.onnx`, and `model.json` with settings."""

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
from pathlib import Path

import torch

from tuning.export.check import (
    EXPORT_PACKAGES,
    GRAPH_FILE,
    MODEL_SETTINGS_FILE,
    ONNX_FILE,
    ExportError,
    check_export,
)
from tuning.export.graph import (
    FramesToLogits,
    example_frames,
    export_graph,
    inference_settings,
    load_frames_to_logits,
)
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest

TOLERANCE = 1e-3
"""Largest accepted difference of a logit between PyTorch and ONNX Runtime, both in float32."""

_OPSET = 18
_MAX_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The files of an export."""

    folder: Path
    difference: float
    """Largest difference of a logit between PyTorch and ONNX Runtime."""


def export_champion(best: Path, folder: Path) -> ExportResult:
    """Export a champion's network and its settings.

    Both networks take frames uint8 `(B, T, 3, S, S)` for any number of clips B and return logits float32 `(B, K)`;
    normalisation is included.

    Args:
        best: the champion's checkpoint.
        folder: created if it does not exist. Existing files are replaced once all new ones are complete and checked.

    Raises:
        CheckpointError: there is no checkpoint, or its files are damaged.
        DataError: the folder is that of a run, can't be written, or has files of these names that are no export.
        ExportError: packages are missing, the network can't be exported, or the ONNX model's logits differ.
    """
    check_export(folder)
    network, manifest = load_frames_to_logits(best)
    calibration = Calibration.load(best)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{str(folder)!r} can't be created ({error.strerror}); give another folder") from None
    temporary = {name: folder / f".part-{name}" for name in (GRAPH_FILE, ONNX_FILE, MODEL_SETTINGS_FILE)}
    try:
        program = export_graph(network, manifest)
        torch.export.save(program, temporary[GRAPH_FILE])
        _write_onnx(program, temporary[ONNX_FILE], manifest)
        difference = _max_difference(network, manifest, temporary[ONNX_FILE])
        if not difference <= TOLERANCE:
            raise ExportError(
                f"a logit of the ONNX model differs from PyTorch's by {difference:.3g}, more than {TOLERANCE:g}; "
                "use the registered model in MLflow instead"
            )
        temporary[MODEL_SETTINGS_FILE].write_text(_settings_json(calibration, manifest, difference))
        for name, file in temporary.items():
            file.replace(folder / name)
    finally:
        for file in temporary.values():
            file.unlink(missing_ok=True)
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()  # Only if nothing was exported.
    return ExportResult(folder, difference)


def _write_onnx(program: torch.export.ExportedProgram, file: Path, manifest: Manifest) -> None:
    try:
        with _silence_exporter():
            onnx_program = torch.onnx.export(
                program,
                input_names=["frames"],
                output_names=["logits"],
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            assert onnx_program is not None
            onnx_program.save(str(file), external_data=False)
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"{manifest.trial.arch} can't be exported to ONNX: {reason[:_MAX_REASON_CHARS]}") from None


def _max_difference(network: FramesToLogits, manifest: Manifest, file: Path) -> float:
    """Return the largest difference of a logit between PyTorch and ONNX Runtime on noise; NaN if one is NaN."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    differences = []
    # Other batch sizes than the two clips of the export.
    for clips in (1, 3):
        frames = example_frames(manifest, clips, seed=clips)
        with torch.inference_mode():
            expected = network(frames)
        logits = torch.from_numpy(session.run(["logits"], {"frames": frames.numpy()})[0])
        if logits.shape != expected.shape:
            raise ExportError(
                f"the ONNX model returns logits of shape {tuple(logits.shape)}, not {tuple(expected.shape)}"
            )
        differences.append((logits - expected).abs().max())
    return float(torch.stack(differences).max())


def _settings_json(calibration: Calibration, manifest: Manifest, difference: float) -> str:
    trial = manifest.trial
    settings = inference_settings(manifest, calibration)
    shape = ["B", trial.num_frames, 3, trial.train.size, trial.train.size]
    values = {
        **{key: value for key, value in settings.items() if key not in ("precision", "at_once")},
        "arch": trial.arch,
        "input": {"name": "frames", "dtype": "uint8", "shape": shape, "order": "RGB"},
        "output": {"name": "logits", "dtype": "float32", "shape": ["B", len(manifest.classes)]},
        "probabilities": "softmax(logits / temperature)",
        "onnx": {"opset": _OPSET, "greatest_difference": difference},
        "versions": {name: version(name) for name in ("torch", *EXPORT_PACKAGES)},
    }
    return json.dumps(values, indent=1) + "\n"


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Hide the exporter's progress, and its warnings about packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
