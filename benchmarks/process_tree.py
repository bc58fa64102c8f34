"""What a command takes with all processes that it starts: seconds, CPU seconds, memory.

    python -m benchmarks.process_tree python -m tuning sweep --config FILE --data DIR --name NAME

prints a Markdown table of its processes, in the order of their start.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tabulate import tabulate

_BETWEEN_LOOKS = 0.5
_LOOKS_A_MEMORY = 4
"""Memory is asked for less often: the kernel walks all pages for it."""
_TOLD = 0.005
"""Share of all CPU time below which a process is not told by itself."""


@dataclass(slots=True)
class Seen:
    """One process."""

    name: str
    """Its command or, of a Ray worker, what Ray calls it."""
    began: float
    """In seconds after the command."""
    last: float
    """When it was last seen."""
    cpu: float = 0.0
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took."""

    seconds: float
    cpu: float
    """Seconds of CPU time of all its processes; of one that ends, what it takes after the last look is lost."""
    memory: float
    """Largest sum of all processes' memory in MB, shared pages counted once (PSS)."""
    processes: tuple[Seen, ...]
    """In the order of their start."""


class CommandFailed(Exception):
    """It did not end with 0; the message has the end of what it said."""


def measured(command: Sequence[str], log: Path) -> Usage:
    """Run a command.

    Args:
        command: the command.
        log: where its output goes.

    Raises:
        CommandFailed: it failed.
    """
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        watch = _Watch(psutil.Process(process.pid))
        watch.start()
        code = process.wait()
    seconds = time.monotonic() - began
    watch.stop()
    if code:
        raise CommandFailed(f"{' '.join(command)} ended with {code}:\n{log.read_text()[-3000:]}")
    processes = tuple(sorted(watch.seen.values(), key=lambda each: each.began))
    return Usage(seconds, sum(each.cpu for each in processes), watch.memory, processes)


def main() -> None:
    """Run the command that the arguments are."""
    if not sys.argv[1:]:
        sys.exit("which command? python -m benchmarks.process_tree COMMAND …")
    with tempfile.TemporaryDirectory() as folder:
        usage = measured(sys.argv[1:], Path(folder, "log.txt"))
    told = [each for each in usage.processes if each.cpu >= _TOLD * usage.cpu]
    rest = usage.cpu - sum(each.cpu for each in told)
    rows = [(each.name, f"{each.began:.0f}–{each.last:.0f} s", each.cpu, each.cpu / usage.cpu) for each in told]
    rows.append((f"{len(usage.processes) - len(told)} more", "", rest, rest / usage.cpu))
    table = [(name, when, f"{cpu:.1f} s", f"{share:.1%}") for name, when, cpu, share in rows]
    print(tabulate(table, ["process", "seen", "CPU time", "of all"], tablefmt="github"))
    print(f"\n{usage.seconds:.0f} s, {usage.cpu:.0f} s of CPU time, {usage.memory:.0f} MB at most")


@dataclass
class _Watch:
    root: psutil.Process
    seen: dict[tuple[int, float], Seen] = field(default_factory=dict)
    """By a process's number and start, since numbers are used again."""
    memory: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.root.create_time()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look_on(self) -> None:
        looks = 0
        while not self._ended.wait(_BETWEEN_LOOKS):
            try:
                processes = [self.root, *self.root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in processes:
                self._count(process)
            if looks % _LOOKS_A_MEMORY == 0:
                self.memory = max(self.memory, sum(map(_memory, processes)))
            looks += 1

    def _count(self, process: psutil.Process) -> None:
        try:
            times, began = process.cpu_times(), process.create_time()
        except psutil.NoSuchProcess:
            return
        name = _name(process)
        seen = self.seen.setdefault((process.pid, began), Seen(name, began - self._began, 0.0))
        seen.last, seen.cpu = time.time() - self._began, times.user + times.system
        if name and "IDLE" not in name:
            seen.name = name


def _name(process: psutil.Process) -> str:
    """Empty for one that has ended, whose times can still be read."""
    try:
        program, *rest = process.cmdline() or [""]
    except psutil.Error:
        return ""
    return " ".join([Path(program).name, *rest]).strip()[:80]


def _memory(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


if __name__ == "__main__":
    main()
