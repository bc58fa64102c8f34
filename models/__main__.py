"""The command line of `models`: `python -m models {list,fetch}`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commandline import add_version, run_command, use_utf8
from models.errors import ModelError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_command(_parser().parse_args(argv), ModelError, words=argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Architectures and pretrained weights.")
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list the architectures with their cost, valid inputs and weights")
    listing.add_argument("--classes", type=int, default=22, metavar="K", help="number of classes; default: 22")
    listing.set_defaults(command=_list)
    fetch = commands.add_parser(
        "fetch", help="download weights and check their hash, for example to copy them to machines without a network"
    )
    fetch.add_argument(
        "names", nargs="+", metavar="NAME", help="ARCHITECTURE or ARCHITECTURE:WEIGHTS; default: its first weights"
    )
    fetch.set_defaults(command=_fetch)
    for command in (listing, fetch):
        command.add_argument(
            "--weights-dir",
            type=Path,
            metavar="DIR",
            help="folder of the weight files, as for a sweep; default: torch's own (under TORCH_HOME)",
        )
    return parser


def _list(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from models.architecture import format_range
    from models.registry import ARCHITECTURES
    from models.weight_files import weights_folder

    if args.classes < 1:
        raise ModelError(f"--classes {args.classes}: give 1 or more")
    header = ("name", "parameters", "GFLOPs per clip", "at", "frames", "sizes", "weights")
    rows = [
        (
            arch.name,
            *_cost_columns(arch.name, args.classes),
            "{}x{}²".format(*arch.default_input),
            format_range(arch.frame_counts),
            format_range(arch.sizes),
            _weights_column(arch.name, args.weights_dir),
        )
        for arch in ARCHITECTURES.values()
    ]
    print(tabulate(rows, header, disable_numparse=True, colalign=("left", "right", "right", *["left"] * 4)))
    print(
        f"\nParameters and GFLOPs (forward pass; a multiply-add is two operations) are for {args.classes} classes and "
        "the frame count and size in column 'at'. Weights marked * are on this machine; others are downloaded to\n"
        f"{weights_folder(args.weights_dir)}"
    )
    return 0


def _cost_columns(name: str, num_classes: int) -> tuple[str, str]:
    from models.cost import default_cost

    try:
        cost = default_cost(name, num_classes)
    except ModelError:
        return "not installed", ""
    return f"{cost.parameters:,}", f"{cost.flops / 1e9:.1f}"


def _weights_column(name: str, weights_dir: Path | None) -> str:
    from models.registry import get_architecture
    from models.weights import weights_available

    known = get_architecture(name).weights
    return ", ".join(f"{weights}*" if weights_available(name, weights, weights_dir) else weights for weights in known)


def _fetch(args: argparse.Namespace) -> int:
    from models.names import check_architecture_name

    if args.weights_dir is not None and args.weights_dir.exists() and not args.weights_dir.is_dir():
        raise ModelError(f"--weights-dir {str(args.weights_dir)!r} is not a folder; give a folder for the files")
    for name in args.names:
        check_architecture_name(name.partition(":")[0])

    # These import PyTorch, which takes seconds.
    from models.registry import get_architecture
    from models.weight_files import obtain_weight_file, weight_file_sha256

    for name in args.names:
        arch_name, _, weights = name.partition(":")
        known = get_architecture(arch_name).weights
        weights = weights or next(iter(known))
        if weights not in known:
            raise ModelError(f"{arch_name} has no weights {weights!r}: fetch one of {', '.join(known)}")
        file = obtain_weight_file(known[weights], arch_name, weights, args.weights_dir)
        print(
            f"{arch_name}:{weights}  {file.stat().st_size / 1e6:.1f} MB  SHA-256 {weight_file_sha256(file)}  {file}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    use_utf8()
    sys.exit(main())
