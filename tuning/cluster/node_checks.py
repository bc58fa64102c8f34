"""Check before a sweep starts that every node of a cluster has the folders, packages and GPUs that it needs.

Each node is checked by a small task that runs there. This module is light to import: it must load on a node that lacks
packages, to report them.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuning.cluster.address import ClusterError
from tuning.errors import error_line

PACKAGES = ("torch", "av", "ray")
"""Packages of which all nodes need the same version, since they decode, train and pickle."""

NODE_TIMEOUT_SECONDS = 300.0
"""A node may first have to fetch the working directory and to import torch from a busy disk."""


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that every node must reach by the same path."""

    setting: str
    """Name of the setting that holds the path."""
    path: str
    """Absolute path."""
    marker: str
    """Name of a file in it, which shows that a node reaches the same folder as the driver."""
    writable: bool
    """Whether nodes must be able to write to it."""


@dataclass(frozen=True, slots=True)
class NodeRequirements:
    """What every node needs."""

    folders: tuple[SharedFolder, ...]
    files: tuple[tuple[str, str], ...]
    """Settings and absolute paths of other files or folders that trials read."""
    local_folders: tuple[tuple[str, str], ...]
    """Settings and absolute paths of folders that each node creates on a disk of its own."""
    versions: dict[str, str]
    """The driver's version of each package."""
    prefix: str
    """The driver's Python installation."""


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    address: str
    gpus: int
    runs_driver: bool


@contextlib.contextmanager
def marked_folders(folders: Sequence[tuple[str, Path]]) -> Iterator[list[SharedFolder]]:
    """Put a marker file into each folder that nodes write to, creating missing folders; remove both on exit.

    Args:
        folders: settings and their folders.

    Raises:
        ClusterError: this process can't write to a folder.
    """
    created, marked = [], list[SharedFolder]()
    try:
        for setting, path in folders:
            created += [path] if not path.exists() else []
            marker = path / f".seen-by-all-{uuid.uuid4().hex}"
            try:
                path.mkdir(parents=True, exist_ok=True)
                marker.touch()
            except OSError as error:
                raise ClusterError(f"{setting} {str(path)!r} can't be written here: {error.strerror}") from None
            marked.append(SharedFolder(setting, str(path), marker.name, writable=True))
        yield marked
    finally:
        for folder in marked:
            Path(folder.path, folder.marker).unlink(missing_ok=True)
        for path in created:
            with contextlib.suppress(OSError):
                path.rmdir()  # Only if it is empty.


def node_requirements(
    folders: Sequence[SharedFolder],
    files: Sequence[tuple[str, str]] = (),
    local_folders: Sequence[tuple[str, str]] = (),
) -> NodeRequirements:
    """Return what every node needs: these folders and files, and the packages of this process."""
    versions = {name: _public_version(metadata.version(name)) for name in PACKAGES}
    return NodeRequirements(tuple(folders), tuple(files), tuple(local_folders), versions, sys.prefix)


def check_nodes(requirements: NodeRequirements, *, gpus: bool, seconds: float = NODE_TIMEOUT_SECONDS) -> int:
    """Check each node that is alive, all of them concurrently.

    Args:
        requirements: what every node needs.
        gpus: trials take GPUs, so that torch must be able to use those of each node.
        seconds: time limit for a node's answer.

    Returns:
        How many nodes were checked. A node that leaves in the meantime is not waited for.

    Raises:
        ClusterError: a node lacks something; names the node, what it lacks and how to fix it.
    """
    nodes = {_start_check(node, requirements, gpus): node for node in _alive()}
    pending, checked = list(nodes), 0
    while pending:
        done, pending = ray.wait(pending, num_returns=1, timeout=seconds)
        if not done:
            raise ClusterError(
                f"node {nodes[pending[0]].address} has not answered for {seconds:g} s: find out why with 'ray status' "
                "or the dashboard, or remove it from the cluster"
            )
        node = nodes[done[0]]
        problems = _problems(done[0], node)
        checked += problems is not None
        if problems:
            more = f" (and {len(problems) - 1} more problems there)" if len(problems) > 1 else ""
            raise ClusterError(f"node {node.address} {problems[0]}{more}")
    return checked


def _alive() -> list[_Node]:
    driver_node = ray.get_runtime_context().get_node_id()
    return [
        _Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            gpus=int(node["Resources"].get("GPU", 0)),
            runs_driver=node["NodeID"] == driver_node,
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _start_check(node: _Node, requirements: NodeRequirements, gpus: bool) -> ray.ObjectRef:
    # No CPU or GPU, since another sweep may hold all of them. `max_calls=1`: the process has looked at GPUs that were
    # not assigned to it, and must not serve another task.
    task = ray.remote(num_cpus=0, max_calls=1, max_retries=2)(list_node_problems)
    affinity = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return task.options(scheduling_strategy=affinity).remote(requirements, node.gpus if gpus else 0, node.runs_driver)


def _problems(ref: ray.ObjectRef, node: _Node) -> list[str] | None:
    """Return the problems of a node; None if it has left the cluster."""
    try:
        return ray.get(ref)
    except RayError as error:
        if node.id not in {other.id for other in _alive()}:
            return None
        reason = error_line(error, 300)
        return [f"can't run this project: {reason}; set it up as the other nodes ('ray up', requirements.txt)"]


def list_node_problems(requirements: NodeRequirements, gpus: int, runs_driver: bool) -> list[str]:
    """Return what this node lacks; runs on the node.

    Args:
        requirements: what every node needs.
        gpus: the node's GPUs that torch must be able to use.
        runs_driver: whether the driver runs on this node.

    Returns:
        Each problem as a predicate: the subject of the sentence is the node.
    """
    folders = [problem for folder in requirements.folders if (problem := _folder_problem(folder))]
    files = [
        f"does not have {path!r} ({setting}): put it on storage that all nodes mount at the same path"
        for setting, path in requirements.files
        if not Path(path).exists()
    ]
    local = [
        problem for setting, path in requirements.local_folders if (problem := _local_folder_problem(setting, path))
    ]
    same_installation = runs_driver and sys.prefix == requirements.prefix
    packages = [] if same_installation else list(_package_problems(requirements.versions))
    # Without its packages torch can't be imported to look for GPUs.
    return [*folders, *files, *local, *packages, *(_gpu_problems(gpus) if gpus and not packages else [])]


def _folder_problem(folder: SharedFolder) -> str | None:
    name = f"the folder of {folder.setting}, {folder.path!r}"
    if not Path(folder.path).is_dir():
        return f"does not have {name}: mount it there, at the same path as on the other nodes"
    if not Path(folder.path, folder.marker).exists():
        return (
            f"has another folder at the path of {name}: {folder.marker!r} is not in it; mount the same storage on all "
            "nodes"
        )
    if folder.writable and (reason := _write_problem(folder.path)):
        return f"can't write to {name} ({reason}): give the user that runs Ray there write permission"
    return None


def _local_folder_problem(setting: str, path: str) -> str | None:
    reason = _write_problem(path)
    return f"can't write {setting} to {path!r} ({reason}): give a folder on a disk of the node" if reason else None


def _write_problem(path: str) -> str | None:
    try:
        os.makedirs(path, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        return error.strerror
    return None


def _package_problems(versions: dict[str, str]) -> Iterator[str]:
    fix = "install requirements.txt there, into the Python that runs Ray ('ray up' does)"
    for name, version in versions.items():
        try:
            installed = _public_version(metadata.version(name))
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            yield f"can't import {name} ({' '.join(str(error).split())}): {fix}"
            continue
        if installed != version:
            yield f"has {name} {installed}, the sweep has {version}: {fix}"


def _gpu_problems(gpus: int) -> list[str]:
    torch: Any = importlib.import_module("torch")
    hidden = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        torch.cuda.init()
        usable = torch.cuda.device_count()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        return [f"has {gpus} GPU(s) that torch can't use ({reason}): update its driver, or set resources.gpus=0"]
    finally:
        if hidden is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = hidden
    if usable < gpus:
        return [f"has {gpus} GPU(s) for Ray, but torch finds {usable}: start Ray there with --num-gpus={usable}"]
    return []


def _public_version(version: str) -> str:
    """Drop the local part, such as `+cpu`: a head without GPU may have another build of torch."""
    return version.split("+")[0]
