"""`python -m tuning ui`: serve the MLflow UI for the runs."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from commandline import Subcommands


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("ui", help="serve the MLflow UI for the runs")
    command.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    command.add_argument("--port", type=int, default=5000, help="default: 5000")
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.config.redact import redact_uri
    from tuning.config.schema.tracking import TrackingConfig
    from tuning.errors import ConfigError
    from tuning.ports import check_port, page_address
    from tuning.tracking.relocate import needs_relocation
    from tuning.tracking.server import check_reachable, database_file, resolve_uri, ui_command

    runs = Path(os.path.realpath(args.runs))
    uri = resolve_uri(TrackingConfig(), runs)
    check_reachable(uri)
    if uri.startswith("http"):
        print(f"MLFLOW_TRACKING_URI is a server already: open {redact_uri(uri)}")
        return 0
    check_port(args.host, args.port)
    database = database_file(uri)
    if database is not None and not database.is_file():
        raise ConfigError(f"no runs in {str(args.runs)!r} yet: run a sweep first, or give --runs DIR")
    if database is not None and needs_relocation(database, runs):
        remedy = f"python -m tuning relocate --runs {shlex.quote(str(args.runs))}"
        print(f"note: artifacts are recorded where they were before the runs were moved or copied; run: {remedy}")
    print(f"MLflow at {page_address(args.host, args.port)} (Ctrl-C ends it)", flush=True)
    command, environment = ui_command(uri, args.host, args.port)
    # In this process's place, so that a signal to it ends MLflow.
    os.execve(command[0], command, {**os.environ, **environment})
