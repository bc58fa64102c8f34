"""`python -m tuning app`: serve a page to try the champion."""

from __future__ import annotations

import argparse

from commandline import Subcommands
from tuning.cli.args import add_champion_options


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "app", help="serve a web page that labels uploaded clips", description="Nothing leaves this machine."
    )
    add_champion_options(command)
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    command.add_argument("--port", type=int, default=7860, help="default: 7860")
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.inference.champion_folder import find_champion
    from tuning.ports import check_port

    _, found = find_champion(args.run, args.model)
    # `latest` is settled once: another run may start meanwhile.
    run = found.path if args.run is not None and found is not None else None
    check_port(args.host, args.port)

    # This takes seconds to import.
    from tuning.inference.app.server import serve

    serve(run, args.model, host=args.host, port=args.port)
    return 0
