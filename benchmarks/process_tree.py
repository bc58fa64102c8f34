"""Wall time, CPU time and memory of a command and of all processes that it starts.

    python -m benchmarks.process_tree python -m tuning sweep --config FILE --data DIR --name NAME

prints a Markdown table of the processes in the order of their start.
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

from benchmarks.helpers.tables import markdown_table

_POLL_SECONDS = 0.5
_POLLS_PER_MEMORY = 4
"""Memory is measured less often than CPU time: the kernel walks all pages for it."""
_SMALL_SHARE = 0.005
"""Processes with less than this share of the CPU time are one row of the table."""


@dataclass(slots=True)
class ProcessUsage:
    """One process."""

    name: str
    """Its command line; for a Ray worker, what Ray calls it."""
    started: float
    """Seconds after the start of the command."""
    last_polled: float
    """Seconds after the start of the command at which it still ran."""
    cpu: float = 0.0
    """CPU seconds."""


@dataclass(frozen=True, slots=True)
class CommandUsage:
    """A command with all its processes."""

    seconds: float
    cpu: float
    """CPU seconds, without those of a process between its last poll and its end."""
    memory: float
    """Peak of the memory of all processes together in MB, shared pages counted once (PSS)."""
    processes: tuple[ProcessUsage, ...]
    """In the order of their start."""


class CommandFailedError(Exception):
    """A command did not exit with 0; the message has the end of its output."""


def measure_command(command: Sequence[str], log: Path) -> CommandUsage:
    """Run a command and measure its processes.

    Args:
        command: the program and its arguments.
        log: file for its output.

    Raises:
        CommandFailedError: it did not exit with 0.
    """
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        monitor = _Monitor(psutil.Process(process.pid))
        monitor.start()
        code = process.wait()
    seconds = time.monotonic() - started
    monitor.stop()
    if code:
        raise CommandFailedError(f"{' '.join(command)} exited with {code}:\n{log.read_text()[-3000:]}")
    processes = tuple(sorted(monitor.processes.values(), key=lambda each: each.started))
    return CommandUsage(seconds, sum(each.cpu for each in processes), monitor.memory, processes)


def main() -> None:
    """Run the command given as arguments and print a Markdown table of its processes."""
    command = sys.argv[1:]
    if not command or command[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if command else "give a command: python -m benchmarks.process_tree COMMAND …")
    with tempfile.TemporaryDirectory() as folder:
        usage = measure_command(command, Path(folder, "log.txt"))
    print(_table(usage))
    print(f"\n{usage.seconds:.0f} s, {usage.cpu:.0f} s of CPU time, {usage.memory:.0f} MB at most")


def _table(usage: CommandUsage) -> str:
    large = [each for each in usage.processes if each.cpu >= _SMALL_SHARE * usage.cpu]
    rest = usage.cpu - sum(each.cpu for each in large)
    rows = [(each.name, f"{each.started:.0f}–{each.last_polled:.0f} s", each.cpu) for each in large]
    rows.append((f"{len(usage.processes) - len(large)} more", "", rest))
    cells = [(name, running, f"{cpu:.1f} s", f"{cpu / usage.cpu:.1%}") for name, running, cpu in rows]
    return markdown_table(cells, ["process", "running", "CPU time", "share"])


@dataclass
class _Monitor:
    """A thread that polls a process and its descendants."""

    root: psutil.Process
    processes: dict[tuple[int, float], ProcessUsage] = field(default_factory=dict)
    """By process id and start time, since ids are reused."""
    memory: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.root.create_time()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _poll(self) -> None:
        polls = 0
        while not self._stopping.wait(_POLL_SECONDS):
            try:
                processes = [self.root, *self.root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in processes:
                self._update(process)
            if polls % _POLLS_PER_MEMORY == 0:
                self.memory = max(self.memory, sum(map(_memory, processes)))
            polls += 1

    def _update(self, process: psutil.Process) -> None:
        try:
            times, started = process.cpu_times(), process.create_time()
        except psutil.NoSuchProcess:
            return
        name = _name(process)
        new = ProcessUsage(name, started - self._started, 0.0)
        usage = self.processes.setdefault((process.pid, started), new)
        usage.last_polled, usage.cpu = time.time() - self._started, times.user + times.system
        if name and "IDLE" not in name:
            usage.name = name


def _name(process: psutil.Process) -> str:
    """Return the command line; empty for a process that has ended, whose CPU time can still be read."""
    try:
        program, *arguments = process.cmdline() or [""]
    except psutil.Error:
        return ""
    return " ".join([Path(program).name, *arguments]).strip()[:80]


def _memory(process: psutil.Process) -> float:
    """Return the process's share of memory (PSS) in MB; 0 if it can't be read."""
    try:
        return process.memory_full_info().pss / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


if __name__ == "__main__":
    main()
