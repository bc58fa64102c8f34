"""What every node of a cluster must see and have before a sweep starts there; each is asked by a small task of its own.

Light to import: on a node that lacks packages this module must load, to say so.
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
"""Of the same version everywhere: others than these decode, train or pickle otherwise."""

SECONDS_TO_ANSWER = 300.0
"""A node may have to fetch the working directory and to import torch from a busy disk first."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that every node must reach by the same path."""

    setting: str
    """Name of the setting that gives it."""
    path: str
    """Absolute."""
    witness: str
    """A file in it that the driver sees."""
    written: bool
    """Whether nodes write there."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a node is asked for."""

    folders: tuple[Folder, ...]
    files: tuple[tuple[str, str], ...]
    """Settings and the absolute paths of further files or folders that trials read."""
    own: tuple[tuple[str, str], ...]
    """Settings and the absolute paths of folders that each node makes on a disk of its own."""
    versions: dict[str, str]
    """By package, the driver's."""
    prefix: str
    """The driver's Python installation."""


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    address: str
    gpus: int
    here: bool
    """The driver runs on it."""


@contextlib.contextmanager
def witnesses(folders: Sequence[tuple[str, Path]]) -> Iterator[list[Folder]]:
    """Folders that nodes write to, made where they are missing, each with a file for the time of the question.

    Raises:
        ClusterError: this process can't write there itself.
    """
    made, found = [], list[Folder]()
    try:
        for setting, path in folders:
            made += [path] if not path.exists() else []
            witness = path / f".seen-by-all-{uuid.uuid4().hex}"
            try:
                path.mkdir(parents=True, exist_ok=True)
                witness.touch()
            except OSError as error:
                raise ClusterError(f"{setting} {str(path)!r} can't be written here: {error.strerror}") from None
            found.append(Folder(setting, str(path), witness.name, written=True))
        yield found
    finally:
        for folder in found:
            Path(folder.path, folder.witness).unlink(missing_ok=True)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()  # Where nothing else is in it.


def needs(
    folders: Sequence[Folder], files: Sequence[tuple[str, str]] = (), own: Sequence[tuple[str, str]] = ()
) -> Needs:
    """These folders and files, and the packages of this process."""
    versions = {name: _public(metadata.version(name)) for name in PACKAGES}
    return Needs(tuple(folders), tuple(files), tuple(own), versions, sys.prefix)


def check_nodes(what: Needs, *, gpus: bool, seconds: float = SECONDS_TO_ANSWER) -> int:
    """Ask each node that is alive, all at once.

    Args:
        what: what each must see and have.
        gpus: trials ask for GPUs, so that those of each node must be of use to torch.
        seconds: how long a node may take to answer.

    Returns:
        How many answered; one that leaves in the meantime is not waited for.

    Raises:
        ClusterError: something is missing on one of them; names the node, the thing and the mend.
    """
    answers = {_ask(node, what, gpus): node for node in _alive()}
    waiting, answered = list(answers), 0
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=seconds)
        if not done:
            raise ClusterError(
                f"node {answers[waiting[0]].address} has not answered for {seconds:g} s: see what holds it up "
                "('ray status', the dashboard), or take it out of the cluster"
            )
        node = answers[done[0]]
        missing = _answer(done[0], node)
        answered += missing is not None
        if missing:
            more = f" (and {len(missing) - 1} more there)" if len(missing) > 1 else ""
            raise ClusterError(f"node {node.address} {missing[0]}{more}")
    return answered


def _alive() -> list[_Node]:
    here = ray.get_runtime_context().get_node_id()
    return [
        _Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            gpus=int(node["Resources"].get("GPU", 0)),
            here=node["NodeID"] == here,
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _ask(node: _Node, what: Needs, gpus: bool) -> ray.ObjectRef:
    # No CPU or GPU of its own, since another sweep may hold them all. Its process serves nothing else: it has looked
    # at GPUs that no task was given.
    task = ray.remote(num_cpus=0, max_calls=1, max_retries=2)(missing_here)
    affinity = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return task.options(scheduling_strategy=affinity).remote(what, node.gpus if gpus else 0, node.here)


def _answer(answer: ray.ObjectRef, node: _Node) -> list[str] | None:
    """What the node lacks; None of one that has left."""
    try:
        return ray.get(answer)
    except RayError as error:
        if node.id not in {other.id for other in _alive()}:
            return None
        reason = error_line(error, 300)
        return [f"can't run this project: {reason}; set it up as the others ('ray up', requirements.txt)"]


def missing_here(what: Needs, gpus: int, with_driver: bool) -> list[str]:
    """Runs on a node: what it lacks, each a part of a sentence that begins with the node."""
    folders = [fault for folder in what.folders if (fault := _folder_fault(folder))]
    files = [
        f"does not see {path!r} ({setting}): put it on storage that all nodes mount at the same path"
        for setting, path in what.files
        if not Path(path).exists()
    ]
    own = [fault for setting, path in what.own if (fault := _own_fault(setting, path))]
    same_installation = with_driver and sys.prefix == what.prefix
    packages = [] if same_installation else list(_package_faults(what.versions))
    return [*folders, *files, *own, *packages, *(_gpu_faults(gpus) if gpus and not packages else [])]


def _folder_fault(folder: Folder) -> str | None:
    where = f"the folder of {folder.setting}, {folder.path!r}"
    if not Path(folder.path).is_dir():
        return f"does not see {where}: mount it there, at the same path as on the other nodes"
    if not Path(folder.path, folder.witness).exists():
        return (
            f"has another folder in place of {where}: {folder.witness!r} is not in it; mount the same storage on all "
            "nodes"
        )
    if folder.written and (reason := _write_fault(folder.path)):
        return f"can't write to {where} ({reason}): let the user that runs Ray there write to it"
    return None


def _own_fault(setting: str, path: str) -> str | None:
    reason = _write_fault(path)
    return f"can't keep {setting} in {path!r} ({reason}): give a folder on a disk that it has" if reason else None


def _write_fault(path: str) -> str | None:
    try:
        os.makedirs(path, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        return error.strerror
    return None


def _package_faults(versions: dict[str, str]) -> Iterator[str]:
    mend = "install requirements.txt there, into the Python that runs Ray ('ray up' does)"
    for name, version in versions.items():
        try:
            found = _public(metadata.version(name))
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            yield f"can't import {name} ({' '.join(str(error).split())}): {mend}"
            continue
        if found != version:
            yield f"has {name} {found}, the sweep has {version}: {mend}"


def _gpu_faults(gpus: int) -> list[str]:
    torch: Any = importlib.import_module("torch")
    hidden = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        torch.cuda.init()
        found = torch.cuda.device_count()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        return [f"has {gpus} GPU(s) that torch can't use ({reason}): mend its driver, or set resources.gpus=0"]
    finally:
        if hidden is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = hidden
    if found < gpus:
        return [f"tells Ray of {gpus} GPU(s), torch finds {found}: start Ray there with --num-gpus={found}"]
    return []


def _public(version: str) -> str:
    """Without what says how it was built, such as `+cpu`: a head without GPU may have another build."""
    return version.split("+")[0]
