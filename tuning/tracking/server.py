"""Where MLflow is: its address, whether it answers, its client, its pages."""

from __future__ import annotations

import logging
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuning.config.redact import TRACKING_URI_VARIABLE, redact_message, redact_uri
from tuning.config.schema.tracking import TrackingConfig
from tuning.errors import TuningError
from tuning.tracking.outbox import Away, Refused

_REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
DATABASES = ("sqlite", *_PORTS)
"""Kinds of addresses that are no server but its database."""

# Modules import in half a second without MLflow and in four with it: each function that needs it imports it.


class TrackingError(TuningError):
    """MLflow can't be reached or written."""


def resolve_uri(tracking: TrackingConfig, runs_dir: Path) -> str:
    """The configured server or database, else MLFLOW_TRACKING_URI, else SQLite under `runs_dir`."""
    return tracking.uri or os.environ.get(TRACKING_URI_VARIABLE) or f"sqlite:///{runs_dir / 'mlflow.db'}"


def check_reachable(uri: str) -> None:
    """Ask the server once: MLflow's own client tries for minutes.

    Raises:
        TrackingError: nobody answers.
    """
    reason = silent(uri)
    if reason:
        raise TrackingError(
            f"no MLflow server answers at {redact_uri(uri)} ({reason}): start it, or unset {TRACKING_URI_VARIABLE} and "
            "tracking.uri to keep runs in a local database"
        )


def silent(uri: str) -> str:
    """Why nobody answers there; empty if somebody does, or if it is a file."""
    shown = redact_uri(uri)
    try:
        if uri.startswith(("http://", "https://")):
            urllib.request.urlopen(f"{shown.rstrip('/')}/health", timeout=5).close()
        elif (place := urlsplit(shown)).hostname and (port := place.port or _PORTS.get(database(uri))):
            socket.create_connection((place.hostname, port), timeout=5).close()
    except urllib.error.HTTPError:
        return ""  # Somebody answers; a server behind a login may refuse this page to strangers.
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return ""


def database(uri: str) -> str:
    """`postgresql` of `postgresql+psycopg2://…`."""
    return uri.partition(":")[0].partition("+")[0]


def ui_command(uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command line that serves MLflow's pages over this database, and what it needs in the environment.

    The address goes by the environment: it may hold a password, and command lines are seen by all on a machine.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--host", host, "--port", str(port)]
    # Pages alone: MLflow would else start a dozen processes for jobs that nobody here sends.
    return command, {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def mlflow_client(uri: str) -> Any:
    """MLflow's client, for runs and for the registry, of few words."""
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.pyfunc", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # A locked database is told of in a line, not by a traceback each time.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # Whoever writes tries again by himself.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # A server's client would else print two lines of links for each run that ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def open_store(uri: str, runs_dir: Path) -> None:
    """Have MLflow imported and its store open, which takes seconds of a database that is yet to be made.

    A store that refuses does so again when it is written to, and is told of then.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(MlflowException, SQLAlchemyError, OSError):
        runs_dir.mkdir(parents=True, exist_ok=True)
        mlflow_client(uri)


@contextmanager
def away_or_refused(uri: str) -> Iterator[None]:
    """What MLflow raises as what a spool's sender knows."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        for_good = isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") in _REFUSALS
        raise (Refused if for_good else Away)(one_line(error, uri)) from None


def one_line(error: Exception, uri: str) -> str:
    """What it says, without a password."""
    first = (str(error).splitlines() or [""])[0] or type(error).__name__
    return redact_message(first, uri)[:300]


@contextmanager
def active_run(uri: str, run_id: str) -> Iterator[None]:
    """MLflow's model flavours write to its global active run; leave no trace of that behind.

    The registry's address is left alone: it could not be unset again, and later processes would inherit it.
    """
    import mlflow

    before = mlflow.get_tracking_uri()
    client = mlflow_client(uri)
    status = client.get_run(run_id).info.status
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            yield
    finally:
        mlflow.set_tracking_uri(before)
    if status != "RUNNING":
        client.set_terminated(run_id, status)
