"""MLflow: a parent run a sweep, a child run a trial, the champion's model in the registry.

All of it is written by the sweep's own process, from its journal. The only file that knows MLflow.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from data.transforms import Normalise
from models.registry import ARCHITECTURES
from tuning.checkpoint import load_model
from tuning.config import SweepConfig
from tuning.errors import TuningError
from tuning.journal import (
    ChampionChosen,
    Entry,
    EpochDone,
    Journal,
    SweepEnded,
    SweepOpened,
    Tested,
    TookOver,
    TrialEnded,
    TrialStarted,
    read_entry,
)
from tuning.run_folder import RunFolder
from tuning.settings import TrackingConfig
from tuning.spool import Away, Refused, Sender, Spool
from tuning.tracking_uri import VARIABLE, scrubbed, with_secrets, without_secrets

TRIAL_TAG = "trial_id"
STATUS_TAG = "trial_status"
CHAMPION_TAG = "champion_trial"
CHAMPION_ALIAS = "champion"

_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_DATABASES = ("sqlite", *_PORTS)

# Modules import in half a second without MLflow and in four with it: each function that needs it imports it.


class TrackingError(TuningError):
    """MLflow can't be reached or written."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """One sweep's place in MLflow; plain values, so that it survives pickling and a resume."""

    uri: str = field(repr=False)
    """May hold a password."""
    experiment_id: str
    parent_run_id: str

    def save(self, file: Path) -> None:
        """Write what a resumed sweep and `evaluate` need to find the runs again, without a password."""
        plain = asdict(self) | {"uri": without_secrets(self.uri)}
        file.write_text(json.dumps(plain, indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> Tracking:
        """Read what `save` wrote; a password comes from MLFLOW_TRACKING_URI."""
        plain = json.loads(file.read_text())
        return cls(**plain | {"uri": with_secrets(plain["uri"])})

    def trial_runs(self, trial_id: str) -> list[Any]:
        """A trial's child runs: one, unless the server had stopped while it was asked for it.

        It then made one for each time that it was asked; the one with the trial's epochs comes first.
        """
        found = _client(self.uri).search_runs(
            [self.experiment_id],
            f"tags.{TRIAL_TAG} = '{trial_id}' and tags.mlflow.parentRunId = '{self.parent_run_id}'",
        )
        return sorted(found, key=lambda run: run.data.metrics.get("epoch", 0), reverse=True)

    def logged_epochs(self, run_id: str) -> set[int]:
        """The epochs that the run has metrics of."""
        return {int(point.value) for point in _client(self.uri).get_metric_history(run_id, "epoch")}


class Writer:
    """Writes a journal's entries to MLflow; what is there already is not written again."""

    def __init__(self, tracking: Tracking, run: RunFolder) -> None:
        self.tracking, self.run = tracking, run
        self.registered = ""
        """The version of the champion's model, once it is registered."""
        self._runs: dict[str, str] = {}
        self._epochs: dict[str, set[int]] = {}
        self._answers = False

    def write(self, line: str) -> None:
        """Write one line of the journal.

        Raises:
            Away: MLflow does not answer, or its database is locked or its disk full.
            Refused: MLflow never takes it; or it is no entry, or speaks of files that are gone.
        """
        try:
            entry = read_entry(line)
        except ValueError:
            raise Refused(f"a damaged line: {line[:80]!r}") from None
        with _away_or_refused(self.tracking.uri):
            # A database that is down would be tried for minutes; a server that had stopped would do when it goes on
            # all that it was asked meanwhile, as often as it was asked.
            if not self._answers and (reason := _silent(self.tracking.uri)):
                raise Away(reason)
            self._answers = False
            self._write(entry)
            self._answers = True

    def _write(self, entry: Entry) -> None:
        match entry:
            case SweepOpened():
                self._client.update_run(self.tracking.parent_run_id, status="RUNNING")
            case TrialStarted():
                self._start_trial(entry)
            case TookOver():
                self._client.set_tag(self._run(entry.trial), f"after_epoch_{entry.epoch}", entry.told)
            case EpochDone():
                self._log_epoch(entry)
            case TrialEnded():
                self._end_trial(entry)
            case ChampionChosen():
                self._register(entry)
            case Tested():
                self._log_test(entry)
            case SweepEnded():
                self._client.set_terminated(self.tracking.parent_run_id, entry.status, end_time=entry.time)

    @property
    def _client(self) -> Any:
        return _client(self.tracking.uri)

    def _run(self, trial: str) -> str:
        if trial not in self._runs:
            found = self.tracking.trial_runs(trial)
            if not found:
                raise Refused(f"trial {trial} has no run")
            self._runs[trial] = found[0].info.run_id
        return self._runs[trial]

    def _start_trial(self, entry: TrialStarted) -> None:
        from mlflow.entities import Param

        found = self.tracking.trial_runs(entry.trial)
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {"mlflow.parentRunId": self.tracking.parent_run_id, TRIAL_TAG: entry.trial, STATUS_TAG: "running"}
            run = self._client.create_run(self.tracking.experiment_id, entry.time, tags, run_name=entry.title)
        self._runs[entry.trial] = run.info.run_id
        # Parameters are those of the trial's start, also if it took over others' since.
        missing = [Param(key, value) for key, value in entry.params.items() if key not in run.data.params]
        if missing:
            self._client.log_batch(run.info.run_id, params=missing)

    def _log_epoch(self, entry: EpochDone) -> None:
        from mlflow.entities import Metric

        run_id = self._run(entry.trial)
        if entry.trial not in self._epochs:
            self._epochs[entry.trial] = self.tracking.logged_epochs(run_id)
        if entry.epoch in self._epochs[entry.trial]:
            return
        points = {"epoch": float(entry.epoch), **entry.metrics}
        metrics = [Metric(key, value, entry.time, entry.epoch) for key, value in points.items()]
        self._client.log_batch(run_id, metrics)
        self._epochs[entry.trial].add(entry.epoch)

    def _end_trial(self, entry: TrialEnded) -> None:
        run_id = self._run(entry.trial)
        for run in self.tracking.trial_runs(entry.trial):
            if run.info.run_id == run_id:
                self._log_figures(run, entry.best, entry.time, {STATUS_TAG: entry.status})
            else:
                self._client.delete_run(run.info.run_id)
        self._client.set_terminated(run_id, _run_status(entry.status), end_time=entry.time)

    def _log_figures(self, run: Any, figures: Mapping[str, float], when: int, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, RunTag

        new = [Metric(key, value, when, 0) for key, value in figures.items() if run.data.metrics.get(key) != value]
        if new or tags:
            self._client.log_batch(run.info.run_id, new, tags=[RunTag(key, value) for key, value in tags.items()])

    def _register(self, entry: ChampionChosen) -> None:
        """Checkpoint, split and registered model into the champion's run; the alias moves to it."""
        client, run_id = self._client, self._run(entry.trial)
        client.log_artifacts(run_id, str(self.run.best), "checkpoint")
        client.log_artifact(run_id, str(self.run.split))
        client.set_tag(run_id, "champion", "true")
        client.set_tag(self.tracking.parent_run_id, CHAMPION_TAG, entry.trial)
        known = client.search_model_versions(f"name = '{entry.model_name}' and run_id = '{run_id}'")
        if known:
            self.registered = str(known[0].version)
        else:
            self.registered = _log_model(self.tracking.uri, run_id, self.run.best, entry.model_name)
        client.set_registered_model_alias(entry.model_name, CHAMPION_ALIAS, self.registered)

    def _log_test(self, entry: Tested) -> None:
        """The test report's files and figures, into the sweep's run and its champion's."""
        found = json.loads((self.run.test / "metrics.json").read_text())
        figures = {f"test_{key}": float(found[key]) for key in ("accuracy", "macro_f1", "num_clips")}
        parent = self._client.get_run(self.tracking.parent_run_id)
        champion = parent.data.tags.get(CHAMPION_TAG)
        for run in (parent, *([self._client.get_run(self._run(champion))] if champion else [])):
            self._client.log_artifacts(run.info.run_id, str(self.run.test), "test")
            self._log_figures(run, figures, entry.time, {})


@dataclass(frozen=True, slots=True)
class Reporting:
    """How a run tells MLflow what it does."""

    journal: Journal
    writer: Writer
    sender: Sender

    def send(self, patience: float) -> str:
        """Send what MLflow has not got yet, and wait so many seconds if it is away.

        Returns:
            What is left and why, in a line; empty if nothing is.
        """
        reason = self.sender.send_all(patience)
        if not reason:
            return ""
        file = self.journal.spool.file.name
        return f"{self.sender.left()} entries of {file} are not at {self.sender.receiver} yet ({reason})"


@contextmanager
def reporting(run: RunFolder) -> Iterator[Reporting]:
    """The run's journal and its way to MLflow, which this process has alone meanwhile.

    Raises:
        SpoolBusy: another process is at work on the run.
    """
    spool, tracking = Spool(run.spool), Tracking.load(run.tracking)
    with spool.alone():
        writer = Writer(tracking, run)
        yield Reporting(
            Journal(spool), writer, Sender(spool, writer.write, f"MLflow at {without_secrets(tracking.uri)}")
        )


@contextmanager
def _away_or_refused(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        for_good = isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") in _REFUSALS
        raise (Refused if for_good else Away)(_one_line(error, uri)) from None


def _one_line(error: Exception, uri: str) -> str:
    first = (str(error).splitlines() or [""])[0] or type(error).__name__
    return scrubbed(first, uri)[:300]


def resolve_uri(tracking: TrackingConfig, runs_dir: Path) -> str:
    """The configured server or database, else MLFLOW_TRACKING_URI, else SQLite under `runs_dir`."""
    return tracking.uri or os.environ.get(VARIABLE) or f"sqlite:///{runs_dir / 'mlflow.db'}"


def check_reachable(uri: str) -> None:
    """Ask the server once: MLflow's own client tries for minutes.

    Raises:
        TrackingError: nobody answers.
    """
    reason = _silent(uri)
    if reason:
        raise TrackingError(
            f"no MLflow server answers at {without_secrets(uri)} ({reason}): start it, or unset {VARIABLE} and "
            "tracking.uri to keep runs in a local database"
        )


def _silent(uri: str) -> str:
    """Why nobody answers there; empty if somebody does, or if it is a file."""
    shown = without_secrets(uri)
    try:
        if uri.startswith(("http://", "https://")):
            urllib.request.urlopen(f"{shown.rstrip('/')}/health", timeout=5).close()
        elif (place := urlsplit(shown)).hostname and (port := place.port or _PORTS.get(_database(uri))):
            socket.create_connection((place.hostname, port), timeout=5).close()
    except urllib.error.HTTPError:
        return ""  # Somebody answers; a server behind a login may refuse this page to strangers.
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return ""


def _database(uri: str) -> str:
    """`postgresql` of `postgresql+psycopg2://…`."""
    return uri.partition(":")[0].partition("+")[0]


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
        raise TrackingError(f"MLflow at {without_secrets(uri)} refuses: {_one_line(error, uri)}") from None
    return Tracking(uri, experiment_id, run.info.run_id)


def ui_command(uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command line that serves MLflow's pages over this database, and what it needs in the environment.

    The address goes by the environment: it may hold a password, and command lines are seen by all on a machine.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--host", host, "--port", str(port)]
    # Pages alone: MLflow would else start a dozen processes for jobs that nobody here sends.
    return command, {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # A locked database is told of in a line, not by a traceback each time.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # Whoever writes tries again by himself.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # A server's client would else print two lines of links for each run that ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: Any, uri: str, name: str, runs_dir: Path) -> str:
    known = client.get_experiment_by_name(name)
    if known is not None:
        return known.experiment_id
    # A server knows where its artifacts go; beside a bare database they would land in the current directory.
    local = _database(uri) in _DATABASES
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
    # Weights in another layout are written as parts of tensors that no longer exist, of which torch warns.
    whole = whole.to(memory_format=torch.contiguous_format)
    # Two clips, not one: torch.export would take a batch of one for a constant.
    example = torch.zeros(2, manifest.trial.num_frames, 3, size, size, dtype=torch.uint8)
    with torch.inference_mode():
        logits = whole(example)
    with _active_run(uri, run_id), _no_warning_of_lstm_weights():
        info = mlflow.pytorch.log_model(
            whole,
            name="model",
            signature=infer_signature(example.numpy(), logits.numpy()),
            input_example=example.numpy(),
            # An exported graph: it loads without this project's code and without unpickling any.
            serialization_format="pt2",
            pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "torchvision", "mlflow", "numpy")],
            metadata={"classes": list(manifest.classes), "checkpoint_sha256": manifest.model_sha256},
        )
        return _register(_client(uri), info.model_id, run_id, model_name)


def _register(client: Any, model_id: str, run_id: str, model_name: str) -> str:
    """As `mlflow.register_model` in the active run, without the lines that it prints."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = str(client.create_model_version(model_name, f"models:/{model_id}", run_id, model_id=model_id).version)
    # By this the logged model's page links to the version.
    told = json.dumps([{"name": model_name, "version": version}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: told})
    return version


@contextmanager
def _no_warning_of_lstm_weights() -> Iterator[None]:
    """An LSTM lists its own parameters anew when it is exported, which torch takes for state that is lost."""
    listed = r"The tensor attributes? (\S+\._flat_weights\[\d+\],? )+(was|were) assigned during export"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", listed, UserWarning, "contextlib")
        yield


@contextmanager
def _active_run(uri: str, run_id: str) -> Iterator[None]:
    """MLflow's model flavours write to its global active run; leave no trace of that behind.

    The registry's address is left alone: it could not be unset again, and later processes would inherit it.
    """
    import mlflow

    before = mlflow.get_tracking_uri()
    client = _client(uri)
    status = client.get_run(run_id).info.status
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            yield
    finally:
        mlflow.set_tracking_uri(before)
    if status != "RUNNING":
        client.set_terminated(run_id, status)
