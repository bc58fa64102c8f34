"""Start Ray on this machine or connect to a cluster, and watch its head."""

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
from ray.exceptions import RayError

from tuning.cluster.address import ClusterError
from tuning.cluster.local_ray import local_address, provide_token, ray_folder, short_tmpdir
from tuning.cluster.submitted_job import working_dir_copy
from tuning.errors import error_line
from tuning.ports import find_free_port

PROJECT = Path(__file__).resolve().parents[2]

WORKER_ENV = {
    # Each report of a trial waits this long before the scheduler gets it; the default is 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    # A busy machine, or a node that is yet to start, may need longer than the default of 60 s.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    # A driver gets its next trial once the workers of the last one have stopped.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
}
"""Environment of all processes of a sweep."""

_WATCH_INTERVAL_SECONDS = 2.0
_WATCH_TIMEOUT_SECONDS = 5.0
_STATE_API_TIMEOUT_SECONDS = 300.0


@contextmanager
def connected(address: str | None, *, verbose: bool, state_api: bool = False) -> Iterator[None]:
    """Start Ray on this machine or connect to a cluster; stop or disconnect on exit.

    Args:
        address: `HOST:PORT` or `auto`; None starts Ray on this machine.
        verbose: show Ray's log lines and the output of the workers.
        state_api: the trials need Ray's State API, as Ray's own trainer does (`resources.reuse_workers: false`): start
            the dashboard on this machine, or check that the cluster's answers.

    Raises:
        ClusterError: Ray can't be started or connected to, or the State API does not answer.
    """
    if address is None and os.pathsep in str(PROJECT):
        raise ClusterError(
            f"{str(PROJECT)!r}, the folder of this project, has a {os.pathsep!r}, which splits PYTHONPATH: rename it"
        )
    options, env = _local_options(state_api) if address is None else ({}, _remote_env(address, state_api))
    try:
        ray.init(
            address=address or "local",
            **options,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            runtime_env=_runtime_env(address, WORKER_ENV | env),
        )
    except Exception as error:  # Ray raises errors of many classes, and sockets and files theirs.
        raise ClusterError(_start_problem(address, options, error)) from None
    try:
        if state_api:
            check_state_api()
        yield
    finally:
        ray.shutdown()


def _local_options(state_api: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return options to start Ray on this machine, and environment variables of its workers."""
    # Ray warns of more than one process per core that starts; each trial starts three.
    folder = ray_folder()
    env = short_tmpdir(folder)
    options = {
        "include_dashboard": state_api,
        "_temp_dir": str(folder),
        "_node_ip_address": local_address(ray.util.get_node_ip_address()),
        "_system_config": {"worker_maximum_startup_concurrency": 32},
    }
    provide_token()
    if not state_api:
        return options, env
    port = find_free_port()
    return options | {"dashboard_port": port}, env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}


def _remote_env(address: str, state_api: bool) -> dict[str, str]:
    # Without an address the State API uses the cluster that was started last on the machine, even one that is gone.
    return {"RAY_ADDRESS": address} if state_api and address != "auto" else {}


def _start_problem(address: str | None, options: dict[str, Any], error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if address is None:
        logs = f"{options['_temp_dir']}/session_latest/logs"
        return f"Ray can't be started here ({reason}); --verbose and the files in {logs} may say more"
    fix = "if it requires a token, copy ~/.ray/auth_token from its head here"
    return f"Ray at {address!r} can't be joined ({reason}); {fix}"


def _runtime_env(address: str | None, env: dict[str, str]) -> dict[str, Any]:
    """Make workers import this project's `data` and `models`, even if other packages have these names there."""
    if address is None:
        # Before the user's own PYTHONPATH, whose packages trials may need.
        path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"env_vars": {**env, "PYTHONPATH": path}}
    if working_dir_copy(PROJECT) is not None:
        # Ray passes a submitted job's working directory on to its workers, and accepts no second one.
        return {"env_vars": env}
    return {"env_vars": env, "working_dir": str(PROJECT)}


def check_state_api() -> None:
    """Check that the State API answers for this cluster on its head, where Ray's trainer calls it.

    Raises:
        ClusterError: it does not answer, or not for this cluster.
    """
    task = ray.remote(num_cpus=0, max_calls=1, resources={"node:__internal_head__": 0.001})(_state_api_nodes)
    try:
        found = ray.get(task.remote(), timeout=_STATE_API_TIMEOUT_SECONDS)
    except RayError as error:
        reason = error_line(error, 200)
    else:
        if not found.isdisjoint(node["NodeID"] for node in ray.nodes()):
            return
        reason = "the State API of another cluster answers"
    raise ClusterError(
        f"resources.reuse_workers=false needs Ray's State API, which does not answer here ({reason}): install "
        "'ray[default]' and start the head with --include-dashboard=true, or set resources.reuse_workers=true"
    )


def _state_api_nodes() -> set[str]:
    from ray.util.state import list_nodes

    return {node.node_id for node in list_nodes()}


def head_address() -> str:
    """Return `HOST:PORT` of the connected cluster's head."""
    return str(ray.get_runtime_context().gcs_address)


@contextmanager
def warn_if_head_stops(address: str, message: str) -> Iterator[None]:
    """Print `message` once if the head of the cluster stops responding within the context.

    Args:
        address: `HOST:PORT` of the head.
        message: one line that says what to do.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_INTERVAL_SECONDS):
            # Twice, since one attempt may fail on a busy machine.
            if not _responds(address) and not _responds(address):
                print(f"\n{message}", flush=True)
                return

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _responds(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_WATCH_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True
