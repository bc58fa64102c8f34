"""How a run was made: by which commands, on what machine, with which versions, and how long it took."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from data.files import write_atomically
from tuning.config.redact import redact_uri
from tuning.errors import TuningError
from tuning.text import count_noun

_PACKAGES = ("torch", "torchvision", "ray", "av", "numpy", "scikit-learn", "mlflow", "optuna")


class ProvenanceError(TuningError):
    """What is kept of how a run was made can't be read."""


class Process(BaseModel):
    """One process that worked on a run: the first, or one that resumed it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    """As it could be typed again, without passwords."""
    started: str
    """UTC, ISO 8601."""
    machine: str
    """The processor of the machine that ran the command."""
    cluster: str
    """Nodes, CPUs and GPUs that trials could use."""
    versions: dict[str, str]
    decoded: int
    """Clips that were decoded; the others' frames were in the store."""
    seconds_decoding: float
    """To scan, decode and look through the clips, wall time."""
    seconds_trials: float | None = None
    """From the first trial's start to the last one's end, wall time; None of a process that was killed."""
    at_once: int | None = None
    """Trials at once that the machine or cluster had room for when they started; None of a process that was killed."""


_ALL = TypeAdapter(list[Process])


def command_line(argv: Sequence[str]) -> str:
    """`python -m tuning …` of these arguments, without passwords."""

    def plain(word: str) -> str:
        key, equals, value = word.partition("=")
        return f"{key}{equals}{redact_uri(value)}" if equals else redact_uri(word)

    return shlex.join(["python", "-m", "tuning", *map(plain, argv)])


def cluster_text(nodes: Sequence[Mapping[str, float]]) -> str:
    """`1 node, 2 CPUs` of the resources of each node, GPUs with their kind."""
    cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    kinds = sorted({key.partition(":")[2] for node in nodes for key in node if key.startswith("accelerator_type:")})
    parts = [count_noun(len(nodes), "node"), f"{cpus:g} CPUs"]
    if gpus:
        parts.append(f"{gpus:g} GPUs{' (' + ', '.join(kinds) + ')' if kinds else ''}")
    return ", ".join(parts)


def machine_text() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Python's, and those of the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def add_process(file: Path, process: Process) -> None:
    """Note a process that begins to work on a run."""
    _write(file, [*read_processes(file), process])


def end_process(file: Path, seconds_trials: float, at_once: int) -> None:
    """Note how long the last process's trials took, and how many there was room for."""
    *before, last = read_processes(file)
    _write(file, [*before, last.model_copy(update={"seconds_trials": seconds_trials, "at_once": at_once})])


def read_processes(file: Path) -> list[Process]:
    """All processes so far, the first one first; empty without a file.

    Raises:
        ProvenanceError: the file is damaged.
    """
    try:
        return _ALL.validate_json(file.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise ProvenanceError(f"{file} can't be read: {str(error).splitlines()[0]}") from None


def _write(file: Path, processes: list[Process]) -> None:
    write_atomically(file, _ALL.dump_json(processes, indent=1).decode() + "\n")
