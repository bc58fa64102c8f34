"""The data's command line: `python -m data {demo,split}`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (2: something that the user can mend, named in one line)."""
    from data.errors import DataError

    args = _parser().parse_args(argv)
    try:
        return args.command(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data", description="Demo clips and splits.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="generate labelled demo clips")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    demo.add_argument("--classes", type=int, default=6, metavar="N", help="default: 6")
    demo.add_argument(
        "--clips-per-class", type=int, default=48, metavar="N", help="clips of the largest class; default: 48"
    )
    demo.add_argument("--seed", type=int, default=0, help="default: 0")
    demo.set_defaults(command=_demo)
    split = commands.add_parser("split", help="give each clip of a folder its split: train, val or test")
    split.add_argument("dir", type=Path, metavar="DIR", help="folder of clips, one sub-folder a class")
    split.add_argument("--out", type=Path, required=True, metavar="CSV", help="where to write the split")
    split.add_argument("--val", type=float, default=0.15, metavar="SHARE", help="default: 0.15")
    split.add_argument("--test", type=float, default=0.15, metavar="SHARE", help="default: 0.15")
    split.add_argument("--seed", type=int, default=0, help="default: 0")
    split.add_argument("--groups", metavar="CSV[:COLUMN]", help="clips of one group never stand in two splits")
    split.add_argument(
        "--few-groups",
        choices=("refuse", "leave-out", "train"),
        default="refuse",
        help="what to do with a class of fewer than three groups; default: refuse",
    )
    split.set_defaults(command=_split)
    return parser


def _demo(args: argparse.Namespace) -> int:
    from data.synthetic import write_demo

    clips = write_demo(args.out, classes=args.classes, clips_per_class=args.clips_per_class, seed=args.seed)
    sources = len({clip.source for clip in clips})
    print(f"{len(clips)} clips of {args.classes} classes from {sources} sources in {args.out}")
    return 0


def _split(args: argparse.Namespace) -> int:
    from data.clips import read_groups, scan_clips
    from data.splits import make_split, write_split

    scan = scan_clips(args.dir, read_groups(args.groups) if args.groups else None)
    split = make_split(scan.clips, val=args.val, test=args.test, seed=args.seed, few_groups=args.few_groups)
    write_split(split, args.out)
    print(split.summary())
    if scan.ignored:
        print(f"note: {len(scan.ignored)} files in class folders are no videos: {', '.join(scan.ignored[:3])}")
    print(f"split {split.sha256[:12]} written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
