"""The MLflow server or database: its address, whether it responds, its client and its user interface."""

from __future__ import annotations

import http.client
import logging
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from proxies import proxy_for, without_login
from tuning.config.redact import TRACKING_URI_VARIABLE, redact_message, redact_uri
from tuning.config.schema.tracking import TrackingConfig
from tuning.errors import TuningError
from tuning.tracking.local_database import DATABASE, database_problem, database_uri
from tuning.tracking.outbox import LineRejected, ReceiverUnavailable

_PERMANENT_ERRORS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"}
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_MAX_MESSAGE_CHARS = 300
_HEALTHY = b"OK"
"""MLflow's answer to `/health`."""
_GATEWAY_ERRORS = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
"""Answers of a gateway whose server does not respond."""

# MLflow takes seconds to import: functions that need it import it, so that importing this module stays fast.


class TrackingError(TuningError):
    """MLflow can't be reached or written."""


def resolve_uri(tracking: TrackingConfig, runs_dir: Path) -> str:
    """Return the configured address, else MLFLOW_TRACKING_URI, else that of an SQLite database in `runs_dir`."""
    return tracking.uri or os.environ.get(TRACKING_URI_VARIABLE) or database_uri(runs_dir / DATABASE)


def check_reachable(uri: str) -> None:
    """Check once that the server responds, or that the file is a database: MLflow's own client retries for minutes.

    Raises:
        TrackingError: the server does not respond, or the file is something else.
    """
    if (file := database_file(uri)) is not None and (problem := database_problem(file)):
        raise TrackingError(f"{str(file)!r} {problem}; move it away, or set tracking.uri or runs_dir to another place")
    reason = unreachable_reason(uri)
    if reason:
        raise TrackingError(
            f"no MLflow server responds at {redact_uri(uri)} ({reason}); start it, or unset {TRACKING_URI_VARIABLE} "
            "and tracking.uri to record runs in a local database"
        )


def unreachable_reason(uri: str) -> str:
    """Return why a server or database does not respond; empty if it does, or if it is a file."""
    shown = redact_uri(uri)
    try:
        if uri.startswith(("http://", "https://")):
            return _server_problem(shown)
        if (address := urlsplit(shown)).hostname and (port := address.port or _DATABASE_PORTS.get(_dialect(uri))):
            socket.create_connection((address.hostname, port), timeout=5).close()
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def _server_problem(address: str) -> str:
    """Return why a server does not respond as MLflow does; empty if it does."""
    proxy = proxy_for(address)
    if not proxy:
        return _request_problem(address, {})
    if proxy.startswith("socks"):
        problem = "" if find_spec("socks") else "the package PySocks is not installed"
    else:
        problem = _request_problem(address, {urlsplit(address).scheme: proxy})
    fix = f"add {urlsplit(address).hostname} to no_proxy to ask it directly"
    return f"{problem}, through the proxy {without_login(proxy)}; {fix}" if problem else ""


def _request_problem(address: str, proxies: dict[str, str]) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(f"{address.rstrip('/')}/health", timeout=5) as answer:
            # A proxy may answer with a page of its own.
            is_other = proxies and answer.read(_MAX_MESSAGE_CHARS).strip() != _HEALTHY
            return "the answer is not MLflow's" if is_other else ""
    except urllib.error.HTTPError as error:
        # A server behind a login may refuse this page. A proxy asks for a login with another code.
        responds = error.code == HTTPStatus.UNAUTHORIZED or (not proxies and error.code not in _GATEWAY_ERRORS)
        return "" if responds else f"HTTP {error.code} {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def is_database(uri: str) -> bool:
    """Return whether the address is that of a database, not of an MLflow server."""
    return _dialect(uri) in ("sqlite", *_DATABASE_PORTS)


def database_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for any other address."""
    # As SQLAlchemy reads it, which takes long to import.
    name = unquote(uri.partition(":///")[2].partition("?")[0]) if _dialect(uri) == "sqlite" else ""
    return Path(name) if name not in ("", ":memory:") else None


def _dialect(uri: str) -> str:
    """Return `postgresql` for `postgresql+psycopg2://…`."""
    return uri.partition(":")[0].partition("+")[0]


def ui_command(uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command line that serves MLflow's user interface over a database, and its environment variables.

    The address is passed in the environment: it may contain a password, and any user can list command lines.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--host", host, "--port", str(port)]
    # Without job execution: it would start a dozen processes for jobs that nobody submits here.
    return command, {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def mlflow_client(uri: str) -> Any:
    """Return a client for runs and for the model registry, which logs little and does not retry."""
    from mlflow import MlflowClient

    for logger in ("alembic", "mlflow.pyfunc", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    # It would log a traceback each time that the database is locked.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # The outbox retries.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # It would print two lines of links for each run that ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def create_database(uri: str) -> None:
    """Create the SQLite database of an address, unless it exists, with all tables or not at all.

    MLflow can't use one of which it could create only a part, because a disk was full or a process was killed.
    """
    file = database_file(uri)
    if file is None or file.exists():
        return
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        mlflow_client(f"sqlite:///{quote(str(part))}")
        try:
            os.link(part, file)
        except FileExistsError:
            return  # Another sweep has created it in the meantime.
        except OSError:
            part.rename(file)  # The file system has no hard links.
    finally:
        for suffix in ("", "-journal"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def initialise_store(uri: str, runs_dir: Path) -> None:
    """Import MLflow and open its store, which takes seconds for a database that does not exist yet.

    Errors are ignored: the first write raises them again.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(MlflowException, SQLAlchemyError, OSError):
        runs_dir.mkdir(parents=True, exist_ok=True)
        create_database(uri)
        mlflow_client(uri)


@contextmanager
def mlflow_errors_for_outbox(uri: str) -> Iterator[None]:
    """Re-raise MLflow's errors as those that `OutboxSender` handles."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        permanent = isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") in _PERMANENT_ERRORS
        raise (LineRejected if permanent else ReceiverUnavailable)(first_line(error, uri)) from None


def first_line(error: Exception, uri: str) -> str:
    """Return the first line of an error's message, without passwords."""
    first = (str(error).splitlines() or [""])[0] or type(error).__name__
    return redact_message(first, uri)[:_MAX_MESSAGE_CHARS]


@contextmanager
def active_run(uri: str, run_id: str) -> Iterator[None]:
    """Make a run MLflow's global active run, as logging and registering models require, and undo it afterwards.

    The registry's address is not set: it could not be unset, and processes started later would inherit it.
    """
    import mlflow

    # None removes MLFLOW_TRACKING_URI again, which MLflow sets: a later sweep of this process would be recorded there.
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
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
