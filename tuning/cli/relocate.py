"""`python -m tuning relocate`: correct MLflow's database after a folder of runs was moved or copied."""

from __future__ import annotations

import argparse
from pathlib import Path

from commandline import Subcommands
from tuning.cli.console import shown
from tuning.text import count_noun


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "relocate",
        help="correct MLflow's database after the runs were moved or copied",
        description="Make the records of artifacts in mlflow.db point to the folder in which the runs are now, so that "
        "the MLflow UI shows them and registered models load. What the runs were copied from is not touched.",
    )
    command.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.tracking.relocate import relocate

    result = relocate(args.runs)
    before = ", ".join(repr(str(place)) for place in result.places)
    if result.changed:
        print(f"{count_noun(result.changed, 'record')} of artifacts changed from {before} to {shown(args.runs)!r}")
    else:
        print("nothing to do: the artifacts are where they are recorded")
    if result.left:
        number = count_noun(len(result.left), "record")
        print(f"note: {number} left unchanged, since the files are only there; the first is {str(result.left[0])!r}")
    return 0
