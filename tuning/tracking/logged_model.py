"""Log a champion to MLflow as a pyfunc model that runs without this project."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from data.quality.limits import Limits
from tuning.export.graph import export_graph, inference_settings, load_frames_to_logits, pinned_requirements
from tuning.export.pyfunc import ABSTAIN, CLIP, NETWORK_FILE, SETTINGS_FILE, TOP_K, class_columns
from tuning.export.vendoring import vendor_module
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest

_REQUIREMENTS = ("mlflow", "torch", "torchvision", "av", "numpy", "pandas", "pillow")
_PACKAGE_PREFIX = "clip_labeller"
_EXAMPLE_CLIP = "clips/squat/example.mp4"


def log_champion_model(best: Path, metadata: Mapping[str, Any], limits: Limits) -> str:
    """Log a champion's model to MLflow's active run and return the model's id.

    The model consists of the exported network, its settings as JSON, and a copy of the modules that decode clips.

    Args:
        best: the champion's checkpoint.
        metadata: saved with the model.
        limits: thresholds from which the model names a clip suspect.
    """
    import mlflow.pyfunc
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        model, code = Path(folder, "model"), Path(folder, "code")
        model.mkdir()
        code.mkdir()
        manifest = write_model_files(best, model, limits)
        loader = vendor_module("tuning.export.pyfunc", code, _PACKAGE_PREFIX)
        return mlflow.pyfunc.log_model(
            name="model",
            # A module with a function that loads the model: nothing is pickled, and logging runs no code of the model.
            loader_module=loader,
            data_path=str(model),
            code_paths=[str(code / loader.partition(".")[0])],
            signature=_signature(manifest.classes),
            input_example=pd.DataFrame({CLIP: [_EXAMPLE_CLIP]}),
            pip_requirements=pinned_requirements(*_REQUIREMENTS),
            metadata=dict(metadata),
        ).model_id


def write_model_files(best: Path, folder: Path, limits: Limits) -> Manifest:
    """Write the files that `ClipClassifier` loads, the exported network and its settings, and return the manifest.

    Args:
        best: the champion's checkpoint.
        folder: an existing folder.
        limits: thresholds from which the model names a clip suspect.
    """
    network, manifest = load_frames_to_logits(best)
    settings = {**inference_settings(manifest, Calibration.load(best)), "limits": asdict(limits)}
    torch.export.save(export_graph(network, manifest), folder / NETWORK_FILE)
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n")
    return manifest


def _signature(classes: tuple[str, ...]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    outputs = [
        ColSpec("string", "label"),
        ColSpec("double", "probability"),
        *(ColSpec("double", name) for name in class_columns(classes)),
        ColSpec("string", "error"),
        ColSpec("string", "defects"),
    ]
    params = [ParamSpec(TOP_K, "long", 0), ParamSpec(ABSTAIN, "boolean", False)]
    return ModelSignature(Schema([ColSpec("string", CLIP)]), Schema(outputs), ParamSchema(params))
