"""Create the MLflow experiment and a sweep's parent run."""

from __future__ import annotations

import itertools
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuning.config.redact import redact_uri
from tuning.config.schema.tracking import TrackingConfig
from tuning.config.sweep_config import SweepConfig
from tuning.tracking.local_database import ARTIFACTS
from tuning.tracking.mlflow_sweep import NOTE_TAG, MlflowSweep
from tuning.tracking.relocate import needs_relocation
from tuning.tracking.server import (
    TrackingError,
    create_database,
    database_file,
    first_line,
    is_database,
    mlflow_client,
    resolve_uri,
)
from tuning.tracking.views import experiment_note, saved_view

_MAX_PARAMS = 100
"""Parameters per request that MLflow accepts."""


def check_accepts_sweep(tracking: TrackingConfig, runs_dir: Path) -> Path | None:
    """Check, without writing, that MLflow can take a sweep's runs and register its champion.

    A database that does not exist yet is not created.

    Returns:
        The local folder to which artifacts go; None if a server keeps them.

    Raises:
        TrackingError: the experiment was deleted, the database has to be relocated, or the database or server does not
            answer as MLflow does.
    """
    uri = resolve_uri(tracking, runs_dir)
    file = database_file(uri)
    if file is not None and not (file.exists() and file.stat().st_size):
        return _artifact_folder(runs_dir)
    if file is not None and needs_relocation(file, runs_dir):
        remedy = f"python -m tuning relocate --runs {shlex.quote(str(runs_dir))}"
        raise TrackingError(
            f"{file} records artifacts where they were before the runs were moved or copied, and a sweep would write "
            f"there; run: {remedy}"
        )
    with _refusals(uri):
        client = mlflow_client(uri)
        experiment = client.get_experiment_by_name(tracking.experiment)
        client.search_registered_models(f"name = '{tracking.model_name}'", max_results=1)
    if experiment is not None and experiment.lifecycle_stage != "active":
        shown = shlex.quote(redact_uri(uri))
        raise TrackingError(
            f"the MLflow experiment {tracking.experiment!r} was deleted: restore it by "
            f"MLFLOW_TRACKING_URI={shown} python -m mlflow experiments restore -x {experiment.experiment_id}, or set "
            "another tracking.experiment"
        )
    if experiment is not None:
        return _local_folder(experiment.artifact_location)
    return _artifact_folder(runs_dir) if is_database(uri) else None


def _artifact_folder(runs_dir: Path) -> Path:
    return runs_dir / ARTIFACTS


def _local_folder(location: str) -> Path | None:
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(location)) if is_local_uri(location) else None


@contextmanager
def _refusals(uri: str) -> Iterator[None]:
    """Raise what MLflow raises as TrackingError, in one line without passwords."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(
            f"MLflow at {redact_uri(uri)} refuses the run: {first_line(error, uri)}; "
            "check the address (tracking.uri or MLFLOW_TRACKING_URI)"
        ) from None


def create_sweep_run(name: str, config: SweepConfig, params: Mapping[str, Any], config_file: Path) -> MlflowSweep:
    """Create the experiment, if it does not exist, and the sweep's parent run with all settings.

    Args:
        name: of the run.
        config: the settings, logged as parameters.
        params: more parameters, which describe the data.
        config_file: logged as an artifact.

    Raises:
        TrackingError: the database or server refuses.
    """
    runs_dir = Path(config.runs_dir)
    uri = resolve_uri(config.tracking, runs_dir)
    with _refusals(uri):
        create_database(uri)
        client = mlflow_client(uri)
        experiment_id = _find_or_create_experiment(client, uri, config.tracking.experiment, runs_dir)
        run_id = client.create_run(experiment_id, run_name=name, tags={"sweep": name}).info.run_id
        _log_params(client, run_id, {**params, **_flatten(config.model_dump(mode="json"))})
        client.log_artifact(run_id, str(config_file))
        if "split_sha256" in params:
            client.log_inputs(run_id, [_dataset(Path(config.data.dir), params)])
    return MlflowSweep(uri, experiment_id, run_id)


def _find_or_create_experiment(client: Any, uri: str, name: str, runs_dir: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        _describe_experiment(client, found.experiment_id, found.tags)
        return found.experiment_id
    # A server has its own artifact location; with a database alone, artifacts would go to the current directory.
    artifacts = _artifact_folder(runs_dir).as_uri() if is_database(uri) else None
    experiment_id = client.create_experiment(name, artifacts)
    # MLflow's pages then open with runs and metrics, not with traces of language models.
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    _describe_experiment(client, experiment_id, {})
    return experiment_id


def _describe_experiment(client: Any, experiment_id: str, tags: Mapping[str, str]) -> None:
    """Set the experiment's description and its saved view, unless they exist: users may have changed them."""
    key, view = saved_view(int(time.time() * 1000))
    for name, value in ((key, view), (NOTE_TAG, experiment_note(experiment_id))):
        if name not in tags:
            client.set_experiment_tag(experiment_id, name, value)


def _log_params(client: Any, run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    entities = iter([Param(key, str(value)) for key, value in params.items()])
    while batch := list(itertools.islice(entities, _MAX_PARAMS)):
        client.log_batch(run_id, params=batch)


def _dataset(folder: Path, params: Mapping[str, Any]) -> Any:
    """Return the clips as an MLflow dataset, whose digest is that of the split."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    counts = {key: params[key] for key in params if key == "classes" or key.endswith("_clips")}
    dataset = Dataset(
        name=folder.name or str(folder),
        # MLflow allows 36 characters; messages and pages name a split by 12.
        digest=params["split_sha256"][:12],
        source_type="local",
        source=json.dumps({"uri": folder.absolute().as_uri()}),
        profile=json.dumps({**counts, "split_sha256": params["split_sha256"]}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one dict with keys such as `train.epochs`."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
