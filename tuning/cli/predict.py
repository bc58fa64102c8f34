"""`python -m tuning predict`: label clips and long videos."""

from __future__ import annotations

import argparse
from pathlib import Path

from commandline import EXIT_USER_ERROR, Subcommands
from tuning.cli.args import add_champion_options


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "predict",
        help="label clips and long videos with a run's champion",
        description="Label clips. A video much longer than the training clips is cut into segments, each with its "
        "start and end. Answers go to stdout, everything else to stderr.",
    )
    add_champion_options(command)
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="video files, and folders of them")
    command.add_argument(
        "--top", type=int, default=1, metavar="K", help="number of most likely classes to show; default: 1"
    )
    command.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    command.add_argument("--out", type=Path, metavar="FILE", help="write the answers to this file instead of stdout")
    command.add_argument(
        "--no-abstain", action="store_true", help="always name a class, even if its probability is below the threshold"
    )
    command.add_argument("--batch", type=int, metavar="N", help="clips or windows per batch; default: as in training")
    command.add_argument("--long", action="store_true", help="cut every video into segments, also short ones")
    command.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="length of a window of a long video; default: the length of the training clips",
    )
    command.add_argument(
        "--hop",
        type=float,
        metavar="SECONDS",
        help="distance between the starts of two windows; default: half a window",
    )
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the segments of one long video to a .png or .svg file"
    )
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.inference.champion_folder import find_champion
    from tuning.inference.options import PredictOptions, check_options, check_paths

    options = PredictOptions(
        paths=args.paths,
        top=args.top,
        format=args.format,
        out=args.out,
        abstain=not args.no_abstain,
        batch=args.batch,
        long=args.long,
        window=args.window,
        hop=args.hop,
        plot=args.plot,
    )
    check_options(options)
    _, found = find_champion(args.run, args.model)
    # `latest` is settled once: another run may start meanwhile.
    run = found.path if args.run is not None and found is not None else None
    check_paths(args.paths)

    # This takes seconds to import: only once the options are known to be valid.
    from tuning.inference.predict import predict_files

    return EXIT_USER_ERROR if predict_files(run, args.model, options) else 0
