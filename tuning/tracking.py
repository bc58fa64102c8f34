"""MLflow: a parent run a sweep, a child run a trial, the champion's model in the registry.

All of it is written by the sweep's own process. The only file that knows MLflow.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.transforms import Normalise
from models.registry import ARCHITECTURES
from tuning.checkpoint import load_model
from tuning.config import SweepConfig, TrackingConfig
from tuning.errors import TuningError
from tuning.results import TrialResult, trial_title

TRIAL_TAG = "trial_id"
STATUS_TAG = "trial_status"
CHAMPION_TAG = "champion_trial"
CHAMPION_ALIAS = "champion"
METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr", "micro_batch", "seconds")

# Modules import in half a second without MLflow and in four with it: each function that needs it imports it.


class TrackingError(TuningError):
    """MLflow can't be reached or written."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """One sweep's place in MLflow; plain values, so that it survives pickling and a resume."""

    uri: str
    experiment_id: str
    parent_run_id: str

    def save(self, file: Path) -> None:
        """Write what a resumed sweep and `evaluate` need to find the runs again."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> Tracking:
        """Read what `save` wrote."""
        return cls(**json.loads(file.read_text()))

    def start_trial(self, trial_id: str, choice: Mapping[str, Any]) -> str:
        """The trial's child run, running; a trial that was started before keeps its run."""
        client = _client(self.uri)
        known = self.trial_run(trial_id)
        if known is not None:
            client.update_run(known, status="RUNNING")
            return known
        run = client.create_run(
            self.experiment_id,
            run_name=trial_title(choice),
            tags={"mlflow.parentRunId": self.parent_run_id, TRIAL_TAG: trial_id, STATUS_TAG: "running"},
        )
        for key, value in choice.items():
            client.log_param(run.info.run_id, key, value)
        return run.info.run_id

    def trial_run(self, trial_id: str) -> str | None:
        """Run id of a trial's child run, if it was started."""
        found = _client(self.uri).search_runs(
            [self.experiment_id],
            f"tags.{TRIAL_TAG} = '{trial_id}' and tags.mlflow.parentRunId = '{self.parent_run_id}'",
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def _trial_runs(self) -> dict[str, str]:
        """Run id of each trial's child run by the trial's id."""
        client, page = _client(self.uri), None
        runs: dict[str, str] = {}
        children = f"tags.mlflow.parentRunId = '{self.parent_run_id}'"
        while True:
            found = client.search_runs([self.experiment_id], children, max_results=1000, page_token=page)
            runs |= {run.data.tags[TRIAL_TAG]: run.info.run_id for run in found}
            page = found.token
            if not page:
                return runs

    def logged_epochs(self, run_id: str) -> set[int]:
        """The epochs that the run has metrics of."""
        return {int(point.value) for point in _client(self.uri).get_metric_history(run_id, "epoch")}

    def log_epoch(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """One epoch's metrics, at step `epoch`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = {"epoch": float(epoch), **metrics}
        _client(self.uri).log_batch(run_id, [Metric(key, value, now, epoch) for key, value in points.items()])

    def end_trials(self, results: list[TrialResult]) -> None:
        """Each trial's final status and best scores, and the epochs of which a killed sweep had not heard."""
        client, runs = _client(self.uri), self._trial_runs()
        for row in results:
            run_id = runs.get(row.id)
            if run_id is None:
                continue
            logged = self.logged_epochs(run_id)
            for epoch, metrics in enumerate(row.history, 1):
                if epoch not in logged:
                    self.log_epoch(run_id, epoch, {key: metrics[key] for key in METRICS})
            client.set_tag(run_id, STATUS_TAG, row.status)
            if row.best_epoch:
                client.log_metric(run_id, "best_val_macro_f1", row.val_macro_f1)
                client.log_metric(run_id, "best_val_accuracy", row.val_accuracy)
                client.log_metric(run_id, "best_epoch", row.best_epoch)
            client.set_terminated(run_id, _run_status(row.status))

    def reopen_sweep(self) -> None:
        """The parent run is running, also when an earlier process had closed it."""
        _client(self.uri).update_run(self.parent_run_id, status="RUNNING")

    def end_sweep(self, status: str) -> None:
        """Close the parent run: `FINISHED`, `FAILED` or `KILLED`."""
        _client(self.uri).set_terminated(self.parent_run_id, status)

    def log_champion(self, champion: TrialResult, best: Path, split: Path, model_name: str) -> str:
        """Checkpoint, split and registered model into the champion's run; the alias moves to it.

        Returns:
            The registered model's version.
        """
        run_id = self.trial_run(champion.id)
        assert run_id is not None, "the champion was started, so it has a run"
        client = _client(self.uri)
        client.log_artifacts(run_id, str(best), "checkpoint")
        client.log_artifact(run_id, str(split))
        client.set_tag(run_id, "champion", "true")
        client.set_tag(self.parent_run_id, CHAMPION_TAG, champion.id)
        registered = _log_model(self.uri, run_id, best, model_name)
        client.set_registered_model_alias(model_name, CHAMPION_ALIAS, registered)
        return registered

    def log_test(self, test: Path) -> None:
        """The test report's files and figures, into the sweep's run and its champion's."""
        client = _client(self.uri)
        figures = json.loads((test / "metrics.json").read_text())
        champion = client.get_run(self.parent_run_id).data.tags.get(CHAMPION_TAG)
        for run_id in filter(None, (self.parent_run_id, champion and self.trial_run(champion))):
            client.log_artifacts(run_id, str(test), "test")
            for key in ("accuracy", "macro_f1", "num_clips"):
                client.log_metric(run_id, f"test_{key}", figures[key])


def resolve_uri(tracking: TrackingConfig, runs_dir: Path) -> str:
    """The configured server or database, else MLFLOW_TRACKING_URI, else SQLite under `runs_dir`."""
    return tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_dir / 'mlflow.db'}"


def check_reachable(uri: str) -> None:
    """Ask the server once: MLflow's own client tries for minutes.

    Raises:
        TrackingError: nobody answers.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5).close()
    except urllib.error.HTTPError:
        return  # Somebody answers; a server behind a login may refuse this page to strangers.
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(
            f"no MLflow server answers at {uri} ({reason}): start it, or unset MLFLOW_TRACKING_URI and tracking.uri "
            "to keep runs in a local database"
        ) from None


def check_port(host: str, port: int) -> None:
    """See that pages can be served there: MLflow's server ends without a word on its exit code.

    Raises:
        TrackingError: the port is taken, or is none.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TrackingError(f"can't serve at {host}:{port} ({reason}): give another --port") from None


def start_sweep(name: str, config: SweepConfig, params: Mapping[str, Any], config_file: Path) -> Tracking:
    """Open the experiment and the sweep's parent run.

    Raises:
        TrackingError: the database or server refuses.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    runs_dir = Path(config.runs_dir)
    uri = resolve_uri(config.tracking, runs_dir)
    try:
        client = _client(uri)
        experiment_id = _experiment(client, uri, config.tracking.experiment, runs_dir)
        run = client.create_run(experiment_id, run_name=name, tags={"sweep": name})
        for key, value in {**params, **_flat(config.model_dump(mode="json"))}.items():
            client.log_param(run.info.run_id, key, value)
        client.log_artifact(run.info.run_id, str(config_file))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(f"MLflow at {uri} refuses: {str(error).splitlines()[0]}") from None
    return Tracking(uri, experiment_id, run.info.run_id)


def ui_command(uri: str, host: str, port: int) -> list[str]:
    """The command line that serves MLflow's pages over this database."""
    where = ["--backend-store-uri", uri, "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "mlflow", "ui", "--workers", "1", *where]


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: Any, uri: str, name: str, runs_dir: Path) -> str:
    known = client.get_experiment_by_name(name)
    if known is not None:
        return known.experiment_id
    # A server knows where its artifacts go; beside a local database they would land in the current directory.
    local = uri.startswith("sqlite:")
    made = client.create_experiment(name, (runs_dir / "mlflow-artifacts").as_uri() if local else None)
    # MLflow's pages then open on runs and metrics, not on traces of language models.
    client.set_experiment_tag(made, "mlflow.experimentKind", "custom_model_development")
    return made


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _run_status(trial_status: str) -> str:
    return {"done": "FINISHED", "stopped": "FINISHED", "unfinished": "KILLED"}.get(trial_status, "FAILED")


class _FramesToLogits(nn.Module):
    """What is registered: takes uint8 frames, so that nobody has to know the normalisation."""

    def __init__(self, model: nn.Module, normalise: Normalise) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 3, S, S)` uint8 to logits `(B, K)` float32."""
        return self.model(self.normalise(frames))


def _log_model(uri: str, run_id: str, best: Path, model_name: str) -> str:
    import mlflow.pytorch
    from mlflow.models import infer_signature

    model, manifest = load_model(best)
    arch, size = ARCHITECTURES[manifest.trial.arch], manifest.trial.train.size
    whole = _FramesToLogits(model, Normalise(arch.mean, arch.std)).eval()
    # Two clips, not one: torch.export would take a batch of one for a constant.
    example = torch.zeros(2, manifest.trial.num_frames, 3, size, size, dtype=torch.uint8)
    with torch.inference_mode():
        logits = whole(example)
    with _active_run(uri, run_id):
        info = mlflow.pytorch.log_model(
            whole,
            name="model",
            signature=infer_signature(example.numpy(), logits.numpy()),
            input_example=example.numpy(),
            # An exported graph: it loads without this project's code and without unpickling any.
            serialization_format="pt2",
            pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "torchvision", "mlflow", "numpy")],
            registered_model_name=model_name,
            metadata={"classes": list(manifest.classes), "checkpoint_sha256": manifest.model_sha256},
        )
    return str(info.registered_model_version)


@contextmanager
def _active_run(uri: str, run_id: str) -> Iterator[None]:
    """MLflow's model flavours write to its global active run; leave no trace of that behind."""
    import mlflow

    logger = logging.getLogger("mlflow")
    before = (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), logger.level)
    client = _client(uri)
    status = client.get_run(run_id).info.status
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    logger.setLevel(logging.ERROR)
    try:
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            yield
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
        logger.setLevel(before[2])
    if status != "RUNNING":
        client.set_terminated(run_id, status)
