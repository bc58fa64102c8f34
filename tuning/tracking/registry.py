"""The registered model: what MLflow holds of a champion, and which version is called `champion`."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuning.export.graph import describe, export_graph, load_whole, pinned
from tuning.export.pyfunc import ABSTAIN, CLIP, NETWORK, SETTINGS, TOP_K, class_columns
from tuning.export.vendoring import carry
from tuning.tracking.server import active_run, mlflow_client
from tuning.training.calibration import Calibration
from tuning.training.checkpoint import Manifest, read_manifest

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
"""Aliases of versions."""

_MACRO_F1, _SPLIT, _CHECKPOINT, _PROMOTION = "test_macro_f1", "split_sha256", "checkpoint_sha256", "promotion"
_REQUIREMENTS = ("mlflow", "torch", "torchvision", "av", "numpy", "pandas")
_PACKAGE = "clip_labeller"
_EXAMPLE = "clips/squat/example.mp4"
_WHAT = "Names the exercise that a workout clip shows. `champion` is the version to use; each version has a model card."


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a registered model."""

    model: str
    number: str

    @property
    def address(self) -> str:
        """As `mlflow.pyfunc.load_model` takes it."""
        return f"models:/{self.model}/{self.number}"


def register(uri: str, run_id: str, best: Path, model_name: str) -> Version:
    """Log a champion as a model of its run and register it; a checkpoint is registered once.

    Until it is tested and promoted the version is a candidate.
    """
    client, manifest = mlflow_client(uri), read_manifest(best)
    known = client.search_model_versions(f"name = '{model_name}' and run_id = '{run_id}'")
    for each in known:
        if each.tags.get(_CHECKPOINT) == manifest.model_sha256:
            return Version(model_name, str(each.version))
    with active_run(uri, run_id):
        version = _create(client, _log(best), run_id, model_name, manifest)
    client.set_registered_model_alias(model_name, CANDIDATE, version.number)
    return version


def version_of(uri: str, run_id: str) -> Version | None:
    """The newest version that was registered from a run."""
    found = mlflow_client(uri).search_model_versions(f"run_id = '{run_id}'")
    newest = max(found, key=lambda each: int(each.version), default=None)
    return None if newest is None else Version(newest.name, str(newest.version))


def describe_version(uri: str, version: Version, card: str, test: dict[str, float], split_sha256: str) -> None:
    """Its model card, and as tags what it is compared by."""
    client = mlflow_client(uri)
    client.update_model_version(version.model, version.number, card)
    tags = {_SPLIT: split_sha256, **{key: repr(value) for key, value in test.items()}}
    for key, value in tags.items():
        client.set_model_version_tag(version.model, version.number, key, value)


def promote(uri: str, version: Version, policy: str) -> str:
    """Call a tested version `champion` if it may be; decided once for each version.

    Args:
        uri: MLflow's address.
        version: with the tags of `describe_version`.
        policy: `better` than the present champion on the same test split, `always` or `never`.

    Returns:
        What became of it, in a line.
    """
    client = mlflow_client(uri)
    tags = client.get_model_version(version.model, version.number).tags
    if _PROMOTION in tags:
        return tags[_PROMOTION]
    present = client.get_registered_model(version.model).aliases.get(CHAMPION)
    if present is not None and str(present) == version.number:
        present, keep = client.get_registered_model(version.model).aliases.get(PREVIOUS), ""
    else:
        keep = _reason_to_keep(client, version, tags, present, policy)
    if keep:
        client.set_registered_model_alias(version.model, CANDIDATE, version.number)
        told = f"kept as {CANDIDATE}: {keep}"
    else:
        # In this order: whoever is cut off in between goes on as if nothing had been done.
        if present is not None:
            client.set_registered_model_alias(version.model, PREVIOUS, str(present))
        client.set_registered_model_alias(version.model, CHAMPION, version.number)
        if str(client.get_registered_model(version.model).aliases.get(CANDIDATE)) == version.number:
            client.delete_registered_model_alias(version.model, CANDIDATE)
        told = f"{CHAMPION}, before it version {present}" if present is not None else f"{CHAMPION}, the first"
    client.set_model_version_tag(version.model, version.number, _PROMOTION, told)
    return told


def promotion_by_hand(version: Version) -> str:
    """The Python that makes a version the champion whatever its scores."""
    moved = f"{version.model!r}, {CHAMPION!r}, {version.number!r}"
    return f"mlflow.MlflowClient().set_registered_model_alias({moved})"


def _reason_to_keep(client: Any, version: Version, tags: dict[str, str], present: Any, policy: str) -> str:
    """Why it does not become champion; empty if it does."""
    if policy == "never":
        return "tracking.promote is never"
    if policy == "always" or present is None:
        return ""
    champion = client.get_model_version(version.model, str(present)).tags
    name = f"the champion, version {present},"
    if _MACRO_F1 not in champion:
        return f"{name} has no test scores to compare with"
    if champion.get(_SPLIT) != tags[_SPLIT]:
        return f"{name} was tested on another split ({str(champion.get(_SPLIT))[:12]}, this one on {tags[_SPLIT][:12]})"
    mine, its = float(tags[_MACRO_F1]), float(champion[_MACRO_F1])
    return "" if mine > its else f"{name} has test macro-F1 {its:.3f} on the same split, this one {mine:.3f}"


def _log(best: Path) -> str:
    """Log the model into the active run; returns its id."""
    import mlflow.pyfunc
    import pandas as pd

    whole, manifest = load_whole(best)
    settings = describe(manifest, Calibration.load(best))
    with tempfile.TemporaryDirectory(prefix="model-") as place:
        model, code = Path(place, "model"), Path(place, "code")
        model.mkdir()
        code.mkdir()
        torch.export.save(export_graph(whole, manifest), model / NETWORK)
        (model / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")
        loader = carry("tuning.export.pyfunc", code, _PACKAGE)
        return mlflow.pyfunc.log_model(
            name="model",
            # By a module that has a function to load it: nothing is pickled, and nothing runs to log it.
            loader_module=loader,
            data_path=str(model),
            code_paths=[str(code / loader.partition(".")[0])],
            signature=_signature(manifest.classes),
            input_example=pd.DataFrame({CLIP: [_EXAMPLE]}),
            pip_requirements=pinned(*_REQUIREMENTS),
            metadata={
                "classes": list(manifest.classes),
                _CHECKPOINT: manifest.model_sha256,
                _SPLIT: manifest.split_sha256,
            },
        ).model_id


def _signature(classes: tuple[str, ...]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    answers = [
        ColSpec("string", "label"),
        ColSpec("double", "probability"),
        *(ColSpec("double", name) for name in class_columns(classes)),
        ColSpec("string", "error"),
    ]
    params = [ParamSpec(TOP_K, "long", 0), ParamSpec(ABSTAIN, "boolean", False)]
    return ModelSignature(Schema([ColSpec("string", CLIP)]), Schema(answers), ParamSchema(params))


def _create(client: Any, model_id: str, run_id: str, model_name: str, manifest: Manifest) -> Version:
    """As `mlflow.register_model` in the active run, without the lines that it prints."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    try:
        client.create_registered_model(model_name, description=_WHAT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {_CHECKPOINT: manifest.model_sha256, _SPLIT: manifest.split_sha256, "arch": manifest.trial.arch}
    made = client.create_model_version(model_name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id)
    version = Version(model_name, str(made.version))
    # By this the logged model's page links to the version.
    told = json.dumps([{"name": model_name, "version": version.number}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: told})
    return version
