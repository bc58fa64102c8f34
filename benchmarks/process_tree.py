"""What a command takes with all processes that it starts: seconds, CPU seconds, memory."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_BETWEEN_LOOKS = 0.5
_LOOKS_A_MEMORY = 4
"""Memory is asked for less often: the kernel walks all pages for it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took."""

    seconds: float
    cpu: float
    """Seconds of CPU time of all its processes; of one that ends, what it takes after the last look is lost."""
    memory: float
    """Largest sum of all processes' memory in MB, shared pages counted once (PSS)."""


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
    return Usage(seconds, sum(watch.cpu.values()), watch.memory)


@dataclass
class _Watch:
    root: psutil.Process
    cpu: dict[tuple[int, float], float] = field(default_factory=dict)
    """Seconds of each process, by its number and start, since numbers are used again."""
    memory: float = 0.0

    def __post_init__(self) -> None:
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
            times = process.cpu_times()
            self.cpu[process.pid, process.create_time()] = times.user + times.system
        except psutil.NoSuchProcess:
            pass


def _memory(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
