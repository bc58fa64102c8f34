"""`python -m tuning report`: write the report of a run again."""

from __future__ import annotations

import argparse

from commandline import Subcommands
from tuning.cli.args import add_data_option, add_run_option, check_data_option
from tuning.cli.console import shown


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "report", help="write the report of a finished sweep again; the test split is not used"
    )
    add_run_option(command)
    add_data_option(command)
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.config.run_folder import find_run

    run = find_run(str(args.run))
    check_data_option(args.data)

    # This takes seconds to import.
    from tuning.finish import rebuild_report

    print(f"report in {shown(rebuild_report(run, args.data))}")
    return 0
