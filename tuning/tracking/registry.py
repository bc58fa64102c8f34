"""The model registry: the champion of each sweep is a version of one registered model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.quality.limits import Limits
from tuning.tracking.logged_model import log_champion_model
from tuning.tracking.server import active_run, mlflow_client
from tuning.training.checkpoint import Manifest, read_manifest

CANDIDATE = "candidate"
"""Alias of the newest version that is not the champion."""
MACRO_F1_TAG, SPLIT_TAG, CHECKPOINT_TAG = "test_macro_f1", "split_sha256", "checkpoint_sha256"

_DESCRIPTION = (
    "Names the exercise that a workout clip shows. `champion` is the version to use; each version has a model card."
)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model."""

    model: str
    number: str

    @property
    def uri(self) -> str:
        """The URI that `mlflow.pyfunc.load_model` accepts."""
        return f"models:/{self.model}/{self.number}"


def register_champion(uri: str, run_id: str, best: Path, model_name: str, limits: Limits) -> ModelVersion:
    """Log a champion's model to its run and register it as a candidate; a checkpoint is registered once.

    Args:
        uri: address of MLflow.
        run_id: the champion's run.
        best: the champion's checkpoint.
        model_name: name of the registered model.
        limits: thresholds from which the model names a clip suspect.
    """
    client, manifest = mlflow_client(uri), read_manifest(best)
    for found in client.search_model_versions(f"name = '{model_name}' and run_id = '{run_id}'"):
        if found.tags.get(CHECKPOINT_TAG) == manifest.model_sha256:
            return ModelVersion(model_name, str(found.version))
    metadata = {
        "classes": list(manifest.classes),
        CHECKPOINT_TAG: manifest.model_sha256,
        SPLIT_TAG: manifest.split_sha256,
    }
    with active_run(uri, run_id):
        model_id = log_champion_model(best, metadata, limits)
        version = _create_version(client, model_id, run_id, model_name, manifest)
    client.set_registered_model_alias(model_name, CANDIDATE, version.number)
    return version


def newest_version(uri: str, run_id: str) -> ModelVersion | None:
    """Return the newest version that was registered from a run."""
    found = mlflow_client(uri).search_model_versions(f"run_id = '{run_id}'")
    newest = max(found, key=lambda version: int(version.version), default=None)
    return None if newest is None else ModelVersion(newest.name, str(newest.version))


def describe_version(
    uri: str, version: ModelVersion, card: str, test_metrics: dict[str, float], split_sha256: str
) -> None:
    """Set a version's model card, and the tags by which versions are compared."""
    client = mlflow_client(uri)
    client.update_model_version(version.model, version.number, card)
    tags = {SPLIT_TAG: split_sha256, **{key: repr(value) for key, value in test_metrics.items()}}
    for key, value in tags.items():
        client.set_model_version_tag(version.model, version.number, key, value)


def _create_version(client: Any, model_id: str, run_id: str, model_name: str, manifest: Manifest) -> ModelVersion:
    """Register a logged model as `mlflow.register_model` does, which would print progress."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    try:
        client.create_registered_model(model_name, description=_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {CHECKPOINT_TAG: manifest.model_sha256, SPLIT_TAG: manifest.split_sha256, "arch": manifest.trial.arch}
    created = client.create_model_version(model_name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id)
    version = ModelVersion(model_name, str(created.version))
    # The page of the logged model links to the version by this tag.
    link = json.dumps([{"name": model_name, "version": version.number}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: link})
    return version
