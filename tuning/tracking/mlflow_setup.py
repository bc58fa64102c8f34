"""Create the MLflow experiment and a sweep's parent run."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuning.config.redact import redact_uri
from tuning.config.sweep_config import SweepConfig
from tuning.tracking.mlflow_sweep import NOTE_TAG, MlflowSweep
from tuning.tracking.server import TrackingError, first_line, is_database, mlflow_client, resolve_uri
from tuning.tracking.views import experiment_note, saved_view

_MAX_PARAMS = 100
"""Parameters per request that MLflow accepts."""


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
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    runs_dir = Path(config.runs_dir)
    uri = resolve_uri(config.tracking, runs_dir)
    try:
        client = mlflow_client(uri)
        experiment_id = _find_or_create_experiment(client, uri, config.tracking.experiment, runs_dir)
        run_id = client.create_run(experiment_id, run_name=name, tags={"sweep": name}).info.run_id
        _log_params(client, run_id, {**params, **_flatten(config.model_dump(mode="json"))})
        client.log_artifact(run_id, str(config_file))
        if "split_sha256" in params:
            client.log_inputs(run_id, [_dataset(Path(config.data.dir), params)])
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(
            f"MLflow at {redact_uri(uri)} refuses the run: {first_line(error, uri)}; "
            "check the address (tracking.uri or MLFLOW_TRACKING_URI)"
        ) from None
    return MlflowSweep(uri, experiment_id, run_id)


def _find_or_create_experiment(client: Any, uri: str, name: str, runs_dir: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        _describe_experiment(client, found.experiment_id, found.tags)
        return found.experiment_id
    # A server has its own artifact location; with a database alone, artifacts would go to the current directory.
    artifacts = (runs_dir / "mlflow-artifacts").as_uri() if is_database(uri) else None
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
