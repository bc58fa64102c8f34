"""`made.json`: the processes that worked on a run, with command, machine, versions and times."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data.files import write_atomically
from tuning.config.redact import redact_uri
from tuning.errors import TuningError
from tuning.text import count_noun

_PACKAGES = ("torch", "torchvision", "ray", "av", "numpy", "scikit-learn", "mlflow", "optuna")


class ProvenanceError(TuningError):
    """`made.json` can't be read."""


class RunProcess(BaseModel):
    """One process that worked on a run: the first one, or one that resumed it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    command: str
    """Its command line, without passwords."""
    started: str
    """UTC, ISO 8601."""
    machine: str
    """Processor of the machine that ran the command."""
    cluster: str
    """Nodes, CPUs and GPUs that the trials could use."""
    versions: dict[str, str]
    """Of Python and of the packages that results may depend on."""
    decoded: int
    """Clips that were decoded; the frames of the others were in the store."""
    seconds_decoding: float
    """Wall time to scan, decode and check the clips."""
    seconds_trials: float | None = None
    """Wall time from the start of the first trial to the end of the last one; None if the process was killed."""
    max_concurrent: int | None = Field(None, alias="at_once")
    """Trials that could run concurrently when they started; None if the process was killed."""


_PROCESSES = TypeAdapter(list[RunProcess])


def redacted_command(argv: Sequence[str]) -> str:
    """Return `python -m tuning …` with these arguments, quoted for a shell and without passwords."""

    def redact(word: str) -> str:
        key, equals, value = word.partition("=")
        return f"{key}{equals}{redact_uri(value)}" if equals else redact_uri(word)

    return shlex.join(["python", "-m", "tuning", *map(redact, argv)])


def cluster_summary(nodes: Sequence[Mapping[str, float]]) -> str:
    """Return text such as `2 nodes, 16 CPUs, 1 GPUs (H100)` from the Ray resources of each node."""
    cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    kinds = sorted({key.partition(":")[2] for node in nodes for key in node if key.startswith("accelerator_type:")})
    parts = [count_noun(len(nodes), "node"), f"{cpus:g} CPUs"]
    if gpus:
        parts.append(f"{gpus:g} GPUs{' (' + ', '.join(kinds) + ')' if kinds else ''}")
    return ", ".join(parts)


def processor_name() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results may depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions


def add_process(file: Path, process: RunProcess) -> None:
    """Add a process that starts to work on a run."""
    _write(file, [*read_processes(file), process])


def end_process(file: Path, seconds_trials: float, max_concurrent: int) -> None:
    """Add to the last process how long its trials took and how many could run concurrently."""
    *earlier, last = read_processes(file)
    ended = last.model_copy(update={"seconds_trials": seconds_trials, "max_concurrent": max_concurrent})
    _write(file, [*earlier, ended])


def read_processes(file: Path) -> list[RunProcess]:
    """Return all processes in order; empty if there is no file.

    Raises:
        ProvenanceError: the file is damaged.
    """
    try:
        return _PROCESSES.validate_json(file.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise ProvenanceError(f"{file} can't be read: {str(error).splitlines()[0]}") from None


def _write(file: Path, processes: list[RunProcess]) -> None:
    write_atomically(file, _PROCESSES.dump_json(processes, indent=1, by_alias=True).decode() + "\n")
