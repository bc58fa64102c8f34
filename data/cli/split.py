"""`python -m data split`: split clips into train, val and test, or into folds and test."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commandline import Subcommands
from data.cli.args import AUTO, add_folder_argument, add_layout_options, add_store_options, files_of_spec, scan_folder
from data.cli.groups import group_by_pictures
from data.errors import DataError

if TYPE_CHECKING:
    from data.clip import Clip
    from data.dataset.clips import Scan
    from data.dataset.splits import Split

# Four columns in any order: a table with more of them holds what a split does not.
_COLUMN = rb'"?(?:path|label|group|split)"?'
_HEAD = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:%b,){3}%b\r?(?:\n|\Z)" % (_COLUMN, _COLUMN))
_SETTINGS = ("val", "test", "folds", "seed", "few_groups")
"""Options that say how a new split is made."""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("split", help="split clips into train, val and test, or into folds and test")
    add_folder_argument(command)
    command.add_argument("--out", type=Path, required=True, metavar="CSV", help="file to write the split to")
    command.add_argument("--val", type=float, metavar="SHARE", help="default: 0.15; not with --folds")
    command.add_argument("--test", type=float, metavar="SHARE", help="default: 0.15")
    command.add_argument(
        "--folds", type=int, metavar="K", help="K folds instead of train and val; each is validated once"
    )
    command.add_argument("--seed", type=int, help="default: 0")
    command.add_argument(
        "--groups",
        metavar="CSV[:COLUMN]",
        help="keep clips of one group in one split; `auto` finds groups as the command `groups` does",
    )
    command.add_argument(
        "--few-groups",
        choices=("refuse", "leave-out", "train"),
        help="what to do with a class of fewer than three groups; default: refuse",
    )
    add_layout_options(command)
    add_store_options(command)
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from data.dataset.clips import check_groups_to_find, read_groups
    from data.outputs import OutputFile, check_outputs

    if args.folds is not None and args.val is not None:
        raise DataError("--val has no effect with --folds, where each fold is validated once; leave one of them out")
    check_outputs([OutputFile(args.out, "a split file", _HEAD)], (*files_of_spec(args.groups), *args.labels))
    scan = scan_folder(args, read_groups(args.groups) if args.groups and args.groups != AUTO else None)

    # These take seconds to import.
    from data.dataset.same_bytes import find_copies_on_disk
    from data.dataset.split_report import NO_GROUPS, split_report
    from data.dataset.splits import write_split

    clips: Sequence[Clip] = scan.clips
    if args.groups == AUTO:
        check_groups_to_find(scan)
        grouping, _, _ = group_by_pictures(args, scan)
        print("\n".join([grouping.summary(), *grouping.warnings()]))
        clips = grouping.regroup(clips)
    copies = find_copies_on_disk(args.dir, (clip.path for clip in clips))
    split = _make_split(clips, copies, scan, args)
    write_split(split, args.out)
    print(split_report(split))
    if args.groups is None and not scan.has_groups:
        print(f"note: {NO_GROUPS}")
    _print_note("sets of identical files share a group", [" = ".join(same) for same in copies])
    _print_note("files or folders are ignored because they are not clips of a class", scan.ignored)
    print(f"split {split.sha256[:12]} written to {args.out}")
    return 0


def _make_split(clips: Sequence[Clip], copies: Sequence[Sequence[str]], scan: Scan, args: argparse.Namespace) -> Split:
    """Return the split that the clips come with, or a new one."""
    from data.dataset.given_split import check_copies_together, given_split, unused_split_settings
    from data.dataset.same_bytes import merge_groups_of_copies
    from data.dataset.stratify import make_folds, make_split

    settings = {name: value for name in _SETTINGS if (value := getattr(args, name)) is not None}
    if scan.splits is not None:
        unused = sorted(f"--{name.replace('_', '-')}" for name in settings.keys() & unused_split_settings(scan.splits))
        if unused:
            raise DataError(
                f"{', '.join(unused)} has no effect on the split that the clips come with; leave it out, or give "
                "--split merge to make a new one"
            )
        check_copies_together(copies, scan.splits)
        return given_split(merge_groups_of_copies(clips, copies), scan.splits, args.dir, **settings)
    joined = merge_groups_of_copies(clips, copies)
    return make_folds(joined, **settings) if args.folds is not None else make_split(joined, **settings)


def _print_note(text: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"note: {len(names)} {text}: {', '.join(names[:3])}{more}")
