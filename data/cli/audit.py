"""`python -m data audit`: decode every clip and report defects."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from commandline import Subcommands
from data.cli.args import (
    AUTO,
    add_folder_argument,
    add_layout_options,
    add_store_options,
    files_of_spec,
    open_frame_store,
    scan_folder,
)

EXIT_UNUSABLE = 1
"""With --strict, if a clip has no frames."""

_TABLE_HEAD = re.compile(rb"\Apath,class,container,codec,")
_PAGE_HEAD = re.compile(rb"<title>Audit of ")


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("audit", help="decode every clip of a folder and report its defects")
    add_folder_argument(command)
    command.add_argument(
        "--out", type=Path, default=Path("audit"), metavar="DIR", help="folder of audit.csv and audit.html"
    )
    add_layout_options(command)
    add_store_options(command)
    command.add_argument(
        "--groups",
        default=AUTO,
        metavar="CSV[:COLUMN]",
        help="groups of clips, to measure the leakage of a random split; default: auto, found from the clips",
    )
    command.add_argument(
        "--min-seconds", type=float, default=0.5, metavar="S", help="shorter clips are suspect; default: 0.5"
    )
    command.add_argument(
        "--max-seconds", type=float, default=60.0, metavar="S", help="longer clips are suspect; default: 60"
    )
    command.add_argument("--strict", action="store_true", help="exit with code 1 if a clip gives no frames")
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from data.outputs import OutputFile, check_output_folder

    table = OutputFile(args.out / "audit.csv", "the table of an audit", _TABLE_HEAD)
    page = OutputFile(args.out / "audit.html", "the page of an audit", _PAGE_HEAD)
    check_output_folder(args.out, (table, page), (*files_of_spec(args.groups), *args.labels))

    from data.dataset.clips import read_groups

    scan = scan_folder(args, None if args.groups == AUTO else read_groups(args.groups))

    # These take seconds to import.
    from data.quality.audit import run_audit, write_audit_csv
    from data.quality.audit_page import write_audit_page
    from data.quality.defects import UNUSABLE
    from data.quality.limits import Limits

    store = open_frame_store(args)
    audit = run_audit(
        args.dir,
        store,
        Limits(min_seconds=args.min_seconds, max_seconds=args.max_seconds),
        scan=scan,
        workers=args.workers,
        seconds_per_clip=args.seconds_per_clip,
    )
    write_audit_csv(audit, table.path)
    write_audit_page(audit, store, page.path)
    print(audit.summary())
    print(f"\ntable of all clips: {table.path}\npage with pictures: {page.path}")
    return EXIT_UNUSABLE if args.strict and audit.statuses[UNUSABLE] else 0
