"""Memory of processes, without the pages of files, which processes share. Exact on Linux."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_memory() -> int:
    """Return the most bytes that this process has held so far."""
    status = _status()
    # After a fork, `getrusage` may report the peak of the parent process.
    return status["VmHWM"] - status["RssFile"] if status else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current_memory() -> int:
    """Return the bytes that this process holds; on other systems than Linux, its peak."""
    status = _status()
    return status["VmRSS"] - status["RssFile"] if status else peak_memory()


def private_memory(pid: int) -> int:
    """Return the bytes that a process shares with no other; 0 if they cannot be read."""
    try:
        pages = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(kb) * 1024 for kb in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", pages, re.MULTILINE))


def _status() -> dict[str, int]:
    """Return Linux's memory counters of this process in bytes; empty on other systems."""
    try:
        lines = re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return {}
    found = {name: int(kb) * 1024 for name, kb in lines}
    return found if found.keys() >= {"VmHWM", "VmRSS", "RssFile"} else {}
