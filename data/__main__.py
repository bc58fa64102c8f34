"""The data's command line: `python -m data {demo,audit,groups,split}`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commandline import add_version, run_command
from data.errors import DataError

if TYPE_CHECKING:
    from data.dataset.clips import Scan
    from data.quality.grouping import Grouping
    from data.store.build_report import BuildReport
    from data.store.frame_store import FrameStore

AUTO = "auto"
"""In place of a file of groups: find them."""

EXIT_UNUSABLE = 1
"""Of a strict audit that found clips without frames."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_command(_parser().parse_args(argv), DataError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data", description="Demo clips, audits, groups and splits.")
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="generate labelled demo clips")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    demo.add_argument("--classes", type=int, default=6, metavar="N", help="default: 6")
    demo.add_argument(
        "--clips-per-class", type=int, default=48, metavar="N", help="clips of the largest class; default: 48"
    )
    demo.add_argument("--seed", type=int, default=0, help="default: 0")
    demo.set_defaults(command=_demo)
    _add_audit(commands)
    _add_groups(commands)
    _add_split(commands)
    return parser


def _add_split(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    split = commands.add_parser("split", help="give each clip of a folder its split: train, val or test, or a fold")
    split.add_argument("dir", type=Path, metavar="DIR", help="folder of clips, one sub-folder a class")
    split.add_argument("--out", type=Path, required=True, metavar="CSV", help="where to write the split")
    split.add_argument("--val", type=float, metavar="SHARE", help="default: 0.15; not beside --folds")
    split.add_argument("--test", type=float, default=0.15, metavar="SHARE", help="default: 0.15")
    split.add_argument("--folds", type=int, metavar="K", help="K folds instead of train and val; each scores once")
    split.add_argument("--seed", type=int, default=0, help="default: 0")
    split.add_argument(
        "--groups",
        metavar="CSV[:COLUMN]",
        help="clips of one group never stand in two splits; `auto` finds groups as the command `groups` does",
    )
    split.add_argument(
        "--few-groups",
        choices=("refuse", "leave-out", "train"),
        default="refuse",
        help="what to do with a class of fewer than three groups; default: refuse",
    )
    _add_store(split)
    split.set_defaults(command=_split)


def _add_groups(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    groups = commands.add_parser("groups", help="find which clips show one recording")
    groups.add_argument("dir", type=Path, metavar="DIR", help="folder of clips, one sub-folder a class")
    groups.add_argument("--out", type=Path, required=True, metavar="CSV", help="where to write the groups")
    groups.add_argument("--sheets", type=Path, metavar="HTML", help="also write contact sheets of the groups")
    groups.add_argument("--check", metavar="CSV[:COLUMN]", help="compare with the true groups")
    _add_store(groups)
    groups.set_defaults(command=_groups)


def _add_store(command: argparse.ArgumentParser) -> None:
    """For commands that look at pictures: the frames they decode serve a sweep with the same settings."""
    command.add_argument(
        "--store", type=Path, default=Path("frame_store"), metavar="DIR", help="frame store; default: frame_store"
    )
    command.add_argument("--frames", type=int, default=32, metavar="N", help="frames to keep a clip; default: 32")
    command.add_argument(
        "--short-side", type=int, default=128, metavar="PIXELS", help="short side of a kept frame; default: 128"
    )
    command.add_argument("--workers", type=int, metavar="N", help="decoding processes; default: one a core")
    command.add_argument(
        "--seconds-per-clip", type=float, default=300.0, metavar="S", help="time limit of one clip; default: 300"
    )


def _add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = commands.add_parser("audit", help="decode every clip of a folder and name what is wrong with each")
    audit.add_argument("dir", type=Path, metavar="DIR", help="folder of clips, one sub-folder a class")
    audit.add_argument(
        "--out", type=Path, default=Path("audit"), metavar="DIR", help="where to write audit.csv and audit.html"
    )
    _add_store(audit)
    audit.add_argument(
        "--groups",
        default="auto",
        metavar="CSV[:COLUMN]",
        help="which clips belong together, to say what a random split would claim; default: auto, found from the clips",
    )
    audit.add_argument(
        "--min-seconds", type=float, default=0.5, metavar="S", help="shorter clips are suspect; default: 0.5"
    )
    audit.add_argument(
        "--max-seconds", type=float, default=60.0, metavar="S", help="longer clips are suspect; default: 60"
    )
    audit.add_argument("--strict", action="store_true", help="exit with code 1 if a clip gives no frames")
    audit.set_defaults(command=_audit)


def _demo(args: argparse.Namespace) -> int:
    from data.demo import write_demo

    clips = write_demo(args.out, classes=args.classes, clips_per_class=args.clips_per_class, seed=args.seed)
    groups = len({clip.group for clip in clips})
    print(f"{len(clips)} clips of {args.classes} classes in {groups} groups, in {args.out}")
    return 0


def _audit(args: argparse.Namespace) -> int:
    from data.dataset.clips import read_groups
    from data.quality.audit import check_writable, run_audit, write_audit_csv
    from data.quality.audit_page import write_page
    from data.quality.defects import UNUSABLE, Limits

    check_writable(args.out)
    store = _store(args)
    audit = run_audit(
        args.dir,
        store,
        Limits(min_seconds=args.min_seconds, max_seconds=args.max_seconds),
        groups=None if args.groups == AUTO else read_groups(args.groups),
        workers=args.workers,
        seconds_per_clip=args.seconds_per_clip,
    )
    write_audit_csv(audit, args.out / "audit.csv")
    write_page(audit, store, args.out / "audit.html")
    print(audit.summary())
    print(f"\nevery clip   {args.out / 'audit.csv'}\nto look at   {args.out / 'audit.html'}")
    return EXIT_UNUSABLE if args.strict and audit.statuses[UNUSABLE] else 0


def _store(args: argparse.Namespace) -> FrameStore:
    from data.store.frame_store import FrameStore
    from data.video.decode import DecodeSettings

    return FrameStore(args.store, DecodeSettings(frames=args.frames, short_side=args.short_side))


def _found_groups(args: argparse.Namespace, scan: Scan) -> tuple[Grouping, BuildReport, FrameStore]:
    from data.quality.grouping import find_groups
    from data.quality.similarity import find_signatures

    store = _store(args)
    paths = [clip.path for clip in scan.clips]
    build = store.build(args.dir, paths, workers=args.workers, seconds_per_clip=args.seconds_per_clip)
    for clip in build.failed:
        print(f"note: {clip.path} gives no frames, {clip.defect}: {clip.reason}")
    signatures = find_signatures(build, store, progress=True)
    return find_groups(scan.clips, build, store, signatures), build, store


def _groups(args: argparse.Namespace) -> int:
    from data.dataset.clips import read_groups, scan_clips
    from data.files import check_output_paths
    from data.quality.grouping import pair_scores, write_groups
    from data.quality.groups_page import write_groups_page
    from data.quality.leakage import measure_leakage

    check_output_paths(args.out, *([args.sheets] if args.sheets else []))
    truth = read_groups(args.check) if args.check else None
    scan = scan_clips(args.dir)
    grouping, build, store = _found_groups(args, scan)
    leakage = measure_leakage(grouping.grouped(scan.clips), build, store)
    write_groups(grouping, args.out)
    notes = (leakage.sentence(),) if leakage else ()
    if args.sheets:
        write_groups_page(grouping, build, store, args.sheets, notes=notes)
    print("\n".join([grouping.sentence(), *grouping.large(), *notes]))
    if truth is not None:
        precision, recall = pair_scores(grouping.groups, truth)
        print(f"against {args.check}, over pairs of clips: precision {precision:.3f}, recall {recall:.3f}")
    print(f"groups written to {args.out}{f', contact sheets to {args.sheets}' if args.sheets else ''}")
    return 0


def _refuse_other_files(out: Path) -> None:
    """A split may be made anew; a file of groups, or whatever else lies there, is not written over."""
    from data.dataset.splits import read_split

    if out.exists():
        try:
            read_split(out)
        except DataError:
            raise DataError(f"'{out}' exists and is no split file: give another name, or remove it") from None


def _split(args: argparse.Namespace) -> int:
    from data.dataset.clips import read_groups, scan_clips
    from data.dataset.same_bytes import find_copies_on_disk, merge_groups_of_copies
    from data.dataset.split_report import NO_GROUPS, split_report
    from data.dataset.splits import write_split
    from data.dataset.stratify import make_folds, make_split

    if args.folds is not None and args.val is not None:
        raise DataError("--val has no effect beside --folds, where each fold validates once: leave one of them out")
    _refuse_other_files(args.out)
    given = args.groups and args.groups != AUTO
    scan = scan_clips(args.dir, read_groups(args.groups) if given else None)
    clips = list(scan.clips)
    if args.groups == AUTO:
        grouping, _, _ = _found_groups(args, scan)
        print("\n".join([grouping.sentence(), *grouping.large()]))
        clips = grouping.grouped(clips)
    copies = find_copies_on_disk(args.dir, (clip.path for clip in clips))
    clips = merge_groups_of_copies(clips, copies)
    settings = {"test": args.test, "seed": args.seed, "few_groups": args.few_groups}
    if args.folds is not None:
        split = make_folds(clips, folds=args.folds, **settings)
    else:
        split = make_split(clips, **settings, **({} if args.val is None else {"val": args.val}))
    write_split(split, args.out)
    print(split_report(split))
    if args.groups is None:
        print(f"note: {NO_GROUPS}")
    _note("sets of identical files share a group", [" = ".join(same) for same in copies])
    _note("files or folders are no clips of a class and are passed over", scan.ignored)
    _note("rows of the groups file name no clip of the folder", scan.unmatched_groups)
    print(f"split {split.sha256[:12]} written to {args.out}")
    return 0


def _note(what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"note: {len(names)} {what}: {', '.join(names[:3])}{more}")


if __name__ == "__main__":
    sys.exit(main())
