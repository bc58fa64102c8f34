"""The command line of the data: `python -m data {demo,audit,groups,split}`.

Decoding processes import this module again when they start: each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from commandline import add_version, run_command, use_utf8
from data.cli import audit, demo, groups, split
from data.errors import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m data", description="Demo clips, audits, groups and splits.")
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (demo, audit, groups, split):
        command.add_parser(commands)
    return run_command(parser.parse_args(argv), DataError, words=argv)


if __name__ == "__main__":
    use_utf8()
    sys.exit(main())
