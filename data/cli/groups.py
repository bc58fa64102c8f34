"""`python -m data groups`: find clips of one recording."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from commandline import Subcommands
from data.cli.args import (
    add_folder_argument,
    add_layout_options,
    add_store_options,
    files_of_spec,
    open_frame_store,
    scan_folder,
)
from data.errors import DataError

if TYPE_CHECKING:
    from data.dataset.clips import Scan
    from data.quality.grouping import Grouping
    from data.store.build_report import BuildReport
    from data.store.frame_store import FrameStore


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("groups", help="find groups: clips that show one recording")
    add_folder_argument(command)
    command.add_argument("--out", type=Path, required=True, metavar="CSV", help="file to write the groups to")
    command.add_argument("--sheets", type=Path, metavar="HTML", help="also write contact sheets of the groups")
    command.add_argument("--check", metavar="CSV[:COLUMN]", help="compare with the true groups")
    add_layout_options(command)
    add_store_options(command)
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from data.dataset.clips import match_groups, read_groups
    from data.outputs import OutputFile, check_outputs

    outputs = [OutputFile(args.out, "a groups file")]
    if args.sheets:
        outputs.append(OutputFile(args.sheets, "the page of contact sheets"))
    check_outputs(outputs, (*files_of_spec(args.check), *args.labels))
    truth = read_groups(args.check) if args.check else None
    scan = scan_folder(args)
    if truth is not None:
        truth, unmatched = match_groups(truth, scan.clips, args.dir)
        if truth.keys().isdisjoint(clip.path for clip in scan.clips):
            raise DataError(f"no path in {args.check!r} is a clip of '{args.dir}'; give paths relative to that folder")
        for note in unmatched:
            print(f"note: {note}")

    # These take seconds to import.
    from data.quality.grouping import pair_scores, write_groups
    from data.quality.groups_page import write_groups_page
    from data.quality.leakage import measure_leakage

    grouping, build, store = group_by_pictures(args, scan)
    leakage = measure_leakage(grouping.regroup(scan.clips), build, store)
    write_groups(grouping, args.out)
    notes = (leakage.summary(),) if leakage else ()
    if args.sheets:
        write_groups_page(grouping, build, store, args.sheets, notes=notes)
    print("\n".join([grouping.summary(), *grouping.warnings(), *notes]))
    if truth is not None:
        precision, recall = pair_scores(grouping.groups, truth)
        print(f"compared with {args.check}, over pairs of clips: precision {precision:.3f}, recall {recall:.3f}")
    print(f"groups written to {args.out}{f', contact sheets to {args.sheets}' if args.sheets else ''}")
    return 0


def group_by_pictures(args: argparse.Namespace, scan: Scan) -> tuple[Grouping, BuildReport, FrameStore]:
    """Decode the clips that the frame store lacks, and find groups; print the clips without frames."""
    from data.quality.grouping import find_groups
    from data.quality.similarity import find_signatures

    store = open_frame_store(args)
    paths = [clip.path for clip in scan.clips]
    build = store.build(args.dir, paths, workers=args.workers, seconds_per_clip=args.seconds_per_clip)
    for clip in build.failed:
        print(f"note: {clip.path} gives no frames, {clip.defect}: {clip.reason}")
    signatures = find_signatures(build, store, progress=True)
    return find_groups(scan.clips, build, store, signatures), build, store
