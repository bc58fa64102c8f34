"""How Ray is reached."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from tuning.cluster.address import ClusterError
from tuning.cluster.submitted_job import working_copy

PROJECT = Path(__file__).resolve().parents[2]

WORKER_ENV = {
    # The default of 2 s is also how long each report of a trial waits before the scheduler sees it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    # A busy machine, or a node yet to start, may take longer than the default of 60 s to give a trial its place.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    # The drivers' own class of callback watches for nodes that are taken away, without a process.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A driver is given its next trial once the workers of the last one have stopped.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
}


# Ray warns of more processes than it expects to start at once, which is one a core; each trial has three.
_LOCAL: dict[str, Any] = {
    "include_dashboard": False,
    "_system_config": {"worker_maximum_startup_concurrency": 32},
}


@contextmanager
def connected(address: str | None, *, verbose: bool) -> Iterator[None]:
    """Ray, started on this machine or reached at an address, for the time of a sweep.

    Args:
        address: `HOST:PORT` or `auto`; None starts Ray on this machine.
        verbose: show Ray's own log lines and the workers' output.

    Raises:
        ClusterError: Ray can't be started or joined.
    """
    try:
        ray.init(
            address=address or "local",
            **(_LOCAL if address is None else {}),
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            runtime_env=_runtime_env(address),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = (
            f"at {address!r} can't be joined; if it asks for a token, copy ~/.ray/auth_token of its head here"
            if address
            else "can't be started here"
        )
        raise ClusterError(f"Ray {where} ({' '.join(str(error).split())})") from None
    try:
        yield
    finally:
        ray.shutdown()


def _runtime_env(address: str | None) -> dict[str, Any]:
    """Workers must import this project's `data` and `models`, whatever else bears those names there."""
    if address is None:
        # In front of what the user has there, whose packages trials may need.
        path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"env_vars": {**WORKER_ENV, "PYTHONPATH": path}}
    if working_copy(PROJECT) is not None:
        # A submitted job's working directory goes to its workers by itself, and Ray takes no second one.
        return {"env_vars": WORKER_ENV}
    return {"env_vars": WORKER_ENV, "working_dir": str(PROJECT)}


def head_address() -> str:
    """`HOST:PORT` of the connected cluster's head."""
    return str(ray.get_runtime_context().gcs_address)


_PAUSE, _PATIENCE = 2.0, 5.0
"""Seconds between two looks, and of one look."""


@contextmanager
def told_when_gone(address: str, what: str) -> Iterator[None]:
    """While this runs, print what to do when the head no longer answers.

    Args:
        address: `HOST:PORT` of the head.
        what: a line.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_PAUSE):
            # Twice: one look may fail on a busy machine.
            if not _answers(address) and not _answers(address):
                print(f"\n{what}", flush=True)
                return

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True
