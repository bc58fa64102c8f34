"""The sweep's command line: `python -m tuning {sweep,evaluate,report,predict,export,app,ui,relocate}`.

Decoding processes import this module again when they start: each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from commandline import add_version, run_command, use_utf8
from data.errors import DataError
from models.errors import ModelError
from proxies import bypass_proxies_for_this_machine
from tuning.cli import app, evaluate, export, predict, relocate, report, sweep, ui
from tuning.errors import TuningError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    bypass_proxies_for_this_machine()
    _set_missing_home()
    return run_command(parse(argv), DataError, ModelError, TuningError, words=argv)


def _set_missing_home() -> None:
    """Set HOME as containers do for a user whom the machine does not know: without it Ray can't be imported."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse as argparse does, but accept KEY=VALUE before, between and behind the options."""
    parser = argparse.ArgumentParser(
        prog="python -m tuning", description="Find and test the best classifier of your workout clips."
    )
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (sweep, evaluate, report, predict, export, app, ui, relocate):
        command.add_parser(commands)
    args, rest = parser.parse_known_args(argv)
    args.words = sys.argv[1:] if argv is None else list(argv)
    if hasattr(args, "overrides"):
        # An unknown option too: it may be named like a setting, which is not known before the settings are imported.
        args.overrides += rest
        rest = []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


if __name__ == "__main__":
    use_utf8()
    code = main()
    # Without this the interpreter's last collection walks through all that PyTorch has imported, which takes seconds.
    gc.freeze()
    sys.exit(code)
