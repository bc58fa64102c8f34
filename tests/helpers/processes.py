"""Start processes from tests and wait for what they do.

Tests wait for events, or for a process to end. The time limit only ends a test whose event never comes: it is far above
what a busy machine takes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PROJECT = Path(__file__).parents[2]
LIMIT_SECONDS = 1800.0
POLL_SECONDS = 0.05


def wait_for(condition: Callable[[], T], event: str) -> T:
    """Return the condition's value once it is true.

    Raises:
        AssertionError: it has not become true within `LIMIT_SECONDS`.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {LIMIT_SECONDS:.0f} s: {event}"
        time.sleep(POLL_SECONDS)
    return value


def call_in_new_process(function: Callable[..., None], *arguments: object, **environment: str) -> str:
    """Call a function of a test module in a new process; return what it printed.

    Ray decides when it is imported how it talks to a cluster, so that one process can't talk to clusters of two kinds.

    Args:
        function: is imported by its name.
        arguments: values whose `repr` is Python code.
        environment: additional environment variables.
    """
    name = function.__name__
    done = subprocess.run(
        [sys.executable, "-c", f"from {function.__module__} import {name}; {name}(*{arguments!r})"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    return succeeded(done).stdout


def succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Return `done` if the command succeeded; fail with its output otherwise."""
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
    return done


@dataclass(frozen=True)
class BackgroundCommand:
    """A command that runs while the test goes on."""

    process: subprocess.Popen[bytes]
    output_file: Path
    """Receives stdout and stderr. A pipe that no one reads would block the command once it is full."""

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def wait_for(self, condition: Callable[[], T], event: str) -> T:
        """Return the condition's value once it is true; fail if the command ends before."""

        def checked() -> T:
            running = self.process.poll() is None
            value = condition()
            assert value or running, f"the command ended before: {event}\n{self.output[-6000:]}"
            return value

        return wait_for(checked, event)

    def wait(self) -> int:
        """Return the exit code once the command has ended."""
        return self.process.wait(timeout=LIMIT_SECONDS)

    def finish(self) -> str:
        """Return the output once the command has ended; fail unless it has succeeded."""
        code = self.wait()
        assert code == 0, f"exit {code}\n{self.output[-6000:]}"
        return self.output

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the command and its child processes, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextmanager
def background_command(
    command: list[str], *, folder: Path, output: Path, **environment: str
) -> Iterator[BackgroundCommand]:
    """Run a command in a process group of its own; kill what is left of the command on exit.

    Args:
        command: its arguments.
        folder: its working directory.
        output: file for stdout and stderr.
        environment: its whole environment.
    """
    with output.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield BackgroundCommand(process, output)
    finally:
        process.kill()
        process.wait()
