"""`python -m data demo`: generate labelled demo clips."""

from __future__ import annotations

import argparse
from pathlib import Path

from commandline import Subcommands


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("demo", help="generate labelled demo clips")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    command.add_argument("--classes", type=int, default=6, metavar="N", help="2 to 10; default: 6")
    command.add_argument(
        "--clips-per-class", type=int, default=48, metavar="N", help="clips of the largest class; default: 48"
    )
    command.add_argument("--seed", type=int, default=0, help="default: 0")
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from data.demo import write_demo

    clips = write_demo(args.out, classes=args.classes, clips_per_class=args.clips_per_class, seed=args.seed)
    groups = len({clip.group for clip in clips})
    print(f"{len(clips)} clips of {args.classes} classes in {groups} groups, in {args.out}")
    return 0
