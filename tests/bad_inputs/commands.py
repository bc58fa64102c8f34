"""Run commands in this process and check how they end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import data.__main__
import models.__main__
import tuning.__main__

_MAINS = {"data": data.__main__.main, "models": models.__main__.main, "tuning": tuning.__main__.main}
_LIMIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    is_usage: bool
    """Whether argparse ended it."""
    changed: list[str]
    """Paths that are new, missing or different."""

    @property
    def errors(self) -> list[str]:
        """The lines on stderr without progress bars."""
        return [line for line in self.err.splitlines() if line.strip() and "%|" not in line and "it/s" not in line]


class Console:
    """Runs commands and compares the files of some folders before and after."""

    def __init__(self, capture: pytest.CaptureFixture[str], *watched: Path) -> None:
        self._capture, self._watched = capture, watched

    def run(self, *words: object) -> Ended:
        """Run a command given as on the command line, without `python -m`."""
        package, *arguments = map(str, words)
        before = self._listing()
        self._capture.readouterr()
        is_usage = False
        with _time_limit():
            try:
                code = _MAINS[package](arguments)
            except SystemExit as exit:
                code, is_usage = int(exit.code or 0), True
        output, after = self._capture.readouterr(), self._listing()
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        return Ended(code, output.out, output.err, is_usage, changed)

    def refuses(self, message: str, *words: object) -> None:
        """Check that a command ends with exit code 2 and one line that contains `message`, and changes no file."""
        ended = self.run(*words)
        assert ended.code == 2, (ended.code, ended.out, ended.err)
        if ended.is_usage:
            assert "error: " in ended.errors[-1]
        else:
            assert len(ended.errors) == 1, ended.err
            assert ended.errors[0].startswith("error: ")
        assert message in ended.errors[-1], ended.errors[-1]
        assert "Traceback" not in ended.out + ended.err
        assert ended.changed == []

    def accepts(self, *words: object) -> Ended:
        """Check that a command ends with exit code 0."""
        ended = self.run(*words)
        assert ended.code == 0, ended.err
        assert "Traceback" not in ended.out + ended.err
        return ended

    def _listing(self) -> dict[str, tuple[int, int, int]]:
        """Return type, size and time of every file; folders have no time, since a temporary file changes it."""
        found = {}
        for root in self._watched:
            for folder, folders, files in os.walk(root):
                for name in [*folders, *files]:
                    path = os.path.join(folder, name)
                    state = os.lstat(path)
                    is_folder = name in folders
                    found[path] = (state.st_mode, *((0, 0) if is_folder else (state.st_size, state.st_mtime_ns)))
        return found


@contextmanager
def _time_limit() -> Iterator[None]:
    """Fail a command that waits, for example for a FIFO that nobody writes to."""

    def fail(*_: object) -> None:
        raise AssertionError(f"it did not end within {_LIMIT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(_LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
