"""The command line of a benchmark, and the child processes that it starts."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def argument_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows the benchmark's docstring as its help."""
    program = f"python -m benchmarks.{Path(sys.argv[0]).stem}"
    return argparse.ArgumentParser(prog=program, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options `--frames` and `--size`, which change an architecture's default clip."""
    parser.add_argument("--frames", type=int, help="frames per clip; default: the architecture's own")
    parser.add_argument("--size", type=int, help="height and width in pixels; default: the architecture's own")


def run_python(arguments: Sequence[str], name: str) -> None:
    """Run Python in a child process and wait for it.

    Args:
        arguments: what follows `python` on the command line.
        name: what is run, for the error message.

    Raises:
        SystemExit: the process failed; the message has the end of its standard error.
    """
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
