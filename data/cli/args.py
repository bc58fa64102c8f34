"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data.dataset.layout import FOLDERS, MERGE

if TYPE_CHECKING:
    from data.dataset.clips import Scan
    from data.store.frame_store import FrameStore

AUTO = "auto"
"""Value of --groups: find groups instead of reading them from a file."""


def files_of_spec(spec: str | None) -> tuple[str, ...]:
    """Return the paths that `CSV[:COLUMN]` can stand for, as inputs for `check_outputs`."""
    return (spec, spec.rpartition(":")[0]) if spec else ()


def add_folder_argument(command: argparse.ArgumentParser) -> None:
    """Add the positional argument DIR, a folder of clips."""
    command.add_argument("dir", type=Path, metavar="DIR", help="folder of clips, one sub-folder per class")


def add_layout_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say where the classes and splits of a folder are; `scan_folder` takes them."""
    command.add_argument(
        "--labels",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="classes by a file instead of sub-folders: a CSV with the columns path and label (also group and split, "
        "if known), or a list as UCF101, Kinetics and MMAction2 have; may be repeated",
    )
    command.add_argument(
        "--split",
        choices=(FOLDERS, MERGE),
        help="what to do with folders such as train, val and test above or below the class folders: use these splits, "
        "or ignore them",
    )
    command.add_argument(
        "--merge-classes",
        action="store_true",
        help="make one class of classes whose names differ only in case, spaces, hyphens, underscores or the coding of "
        "accents",
    )


def scan_folder(args: argparse.Namespace, groups: Mapping[str, str] | None = None) -> Scan:
    """Find the clips of DIR as the options say; print what a user should know about the classes."""
    from data.dataset.clips import scan_clips
    from data.dataset.label_files import read_labels

    labels = read_labels(args.labels) if args.labels else None
    scan = scan_clips(args.dir, groups, labels=labels, split=args.split, merge_classes=args.merge_classes)
    for note in scan.notes:
        print(f"note: {note}")
    return scan


def add_store_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the frame store; a sweep with the same settings uses the frames that a command decodes."""
    command.add_argument(
        "--store", type=Path, default=Path("frame_store"), metavar="DIR", help="frame store; default: frame_store"
    )
    command.add_argument("--frames", type=int, default=32, metavar="N", help="frames to store per clip; default: 32")
    command.add_argument(
        "--short-side", type=int, default=128, metavar="PIXELS", help="short side of a stored frame; default: 128"
    )
    command.add_argument("--workers", type=int, metavar="N", help="decoding processes; default: one per core")
    command.add_argument(
        "--seconds-per-clip", type=float, default=300.0, metavar="S", help="time limit for one clip; default: 300"
    )


def open_frame_store(args: argparse.Namespace) -> FrameStore:
    """Return the frame store of the options."""
    from data.store.frame_store import FrameStore
    from data.video.decode import DecodeSettings

    return FrameStore(args.store, DecodeSettings(frames=args.frames, short_side=args.short_side))
