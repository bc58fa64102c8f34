"""How Ray is reached, and how many trials fit on it."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.state import list_actors, list_placement_groups

from tuning.job import Slot
from tuning.ray_address import ClusterError
from tuning.settings import ResourcesConfig
from tuning.submitted_job import working_copy

PROJECT = Path(__file__).resolve().parents[1]

WORKER_ENV = {
    # The default of 2 s is also how long each report of a trial waits before the scheduler sees it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    # A busy machine, or a node yet to start, may take longer than the default of 60 s to give a trial its place.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
}


# Ray warns of more processes than it expects to start at once, which is one a core; each trial has five.
_LOCAL: dict[str, Any] = {
    "include_dashboard": True,
    "_system_config": {"worker_maximum_startup_concurrency": 32},
}


@contextmanager
def connected(address: str | None, *, verbose: bool) -> Iterator[None]:
    """Ray, started on this machine or reached at an address, for the time of a sweep.

    Args:
        address: `HOST:PORT` or `auto`; None starts Ray on this machine.
        verbose: show Ray's own log lines and the workers' output.

    Raises:
        ClusterError: Ray can't be started or joined, or its State API is off.
    """
    port = _free_port()
    try:
        with _environment(RAY_GCS_SERVER_PORT=str(port)):
            ray.init(
                address=address or "local",
                **(_LOCAL if address is None else {}),
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
                runtime_env=_runtime_env(address, port),
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = (
            f"at {address!r} can't be joined; if it asks for a token, copy ~/.ray/auth_token of its head here"
            if address
            else "can't be started here"
        )
        raise ClusterError(f"Ray {where} ({' '.join(str(error).split())})") from None
    try:
        _check_state_api()
        yield
    finally:
        if address is not None:
            _free_places()
        ray.shutdown()


def _runtime_env(address: str | None, local_port: int) -> dict[str, Any]:
    """Workers must import this project's `data` and `models`, whatever else bears those names there.

    And they must know their cluster by name: what frees a stopped trial's place asks the State API, which would else
    ask the cluster last started on that machine by `ray start`, be it another or long gone, and wait for ever.
    """
    if address is None:
        here = {"RAY_ADDRESS": f"127.0.0.1:{local_port}", "PYTHONPATH": str(PROJECT)}
        return {"env_vars": {**WORKER_ENV, **here}}
    variables = WORKER_ENV if address == "auto" else {**WORKER_ENV, "RAY_ADDRESS": address}
    if working_copy(PROJECT) is not None:
        # A submitted job's working directory goes to its workers by itself, and Ray takes no second one.
        return {"env_vars": variables}
    return {"env_vars": variables, "working_dir": str(PROJECT)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_state_api(patience: float = 60.0) -> None:
    """Without it Ray never frees what a stopped trial held, and the next trial waits for ever.

    On a busy machine Ray's dashboard may take a while to answer the first time.
    """
    # Named, since Ray would else ask the cluster last started on this machine, which may be another, or gone.
    address = ray.get_runtime_context().gcs_address
    deadline = time.monotonic() + patience
    while True:
        try:
            list_actors(address=address, limit=1, timeout=20)
            return
        except Exception as error:
            if time.monotonic() > deadline:
                raise ClusterError(
                    "Ray's State API does not answer, so trials that are stopped early would hold their place for "
                    "ever: install ray[default] and start Ray with its dashboard "
                    f"({type(error).__name__}: {' '.join(str(error).split())[:200]})"
                ) from None
        time.sleep(1)


def _free_places() -> None:
    """On a cluster that goes on, free what the trials stopped last still hold: Ray's cleaner ends with this job."""
    context = ray.get_runtime_context()
    mine = [("creator_job_id", "=", context.get_job_id()), ("state", "!=", "REMOVED")]
    try:
        left = list_placement_groups(address=context.gcs_address, filters=mine, limit=10_000, timeout=20)
    except Exception as error:
        print(f"note: what stopped trials held on the cluster may not be free: {type(error).__name__}", flush=True)
        return
    for group in left:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group.placement_group_id))))


def plan_slots(resources: ResourcesConfig) -> tuple[Slot, int]:
    """What a trial takes and how many run at once on the connected cluster.

    Raises:
        ClusterError: no node can hold a worker, and `max_concurrent` does not say that nodes will come.
    """
    nodes = _alive_nodes()
    slot = _choose_slot(resources, nodes)
    fitting = trials_that_fit(slot)
    if resources.max_concurrent is not None:
        return slot, resources.max_concurrent
    if fitting == 0:
        most_cpus = max(node.get("CPU", 0) for node in nodes)
        most_gpus = max(node.get("GPU", 0) for node in nodes)
        raise ClusterError(
            f"no trial fits: it takes {slot.workers} worker(s) of {slot.cpus:g} CPU and {slot.gpus:g} GPU, the largest "
            f"node has {most_cpus:g} CPU and {most_gpus:g} GPU; lower resources.cpus, resources.gpus or "
            "resources.workers, or set resources.max_concurrent if nodes are yet to come"
        )
    return slot, fitting


def trials_that_fit(slot: Slot) -> int:
    """How many trials the nodes that are there now hold at once."""
    return sum(_workers_on(node, slot) for node in _alive_nodes()) // slot.workers


def _alive_nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _choose_slot(resources: ResourcesConfig, nodes: list[dict[str, float]]) -> Slot:
    total_gpus = sum(node.get("GPU", 0) for node in nodes)
    gpus = resources.gpus if resources.gpus is not None else float(total_gpus > 0)
    cpus = resources.cpus
    if cpus is None:
        beside = sum(node.get("CPU", 0) for node in nodes if node.get("GPU", 0) > 0)
        share = beside / total_gpus * gpus if gpus and total_gpus else 1.0
        cpus = float(max(1, min(8, math.floor(share))))
    return Slot(workers=resources.workers, cpus=cpus, gpus=gpus)


def _workers_on(node: dict[str, float], slot: Slot) -> int:
    by_cpu = math.floor(node.get("CPU", 0) / slot.cpus)
    if not slot.gpus:
        return by_cpu
    gpus = node.get("GPU", 0)
    # A fraction is of one GPU: 0.4 fits twice on each, not five times on two.
    by_gpu = int(gpus) * math.floor(1 / slot.gpus) if slot.gpus < 1 else math.floor(gpus / slot.gpus)
    return min(by_cpu, by_gpu)
