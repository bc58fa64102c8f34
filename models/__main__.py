"""The models' command line: `python -m models {list,fetch}`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commandline import add_version, run_command
from models.errors import ModelError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_command(_parser().parse_args(argv), ModelError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Architectures and pretrained weights.")
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="what architectures take and cost, and which weights are at hand")
    listing.add_argument("--classes", type=int, default=22, metavar="K", help="classes to tell apart; default: 22")
    listing.set_defaults(command=_list)
    fetch = commands.add_parser(
        "fetch", help="download weights, for here or for machines that can't; the hash is checked"
    )
    fetch.add_argument("names", nargs="+", metavar="NAME", help="an architecture, or ARCHITECTURE:WEIGHTS")
    fetch.set_defaults(command=_fetch)
    for command in (listing, fetch):
        command.add_argument(
            "--weights-dir",
            type=Path,
            metavar="DIR",
            help="folder of the weight files, as a sweep's --weights-dir; default: torch's own (TORCH_HOME)",
        )
    return parser


def _list(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from models.architecture import format_range
    from models.registry import ARCHITECTURES

    header = ("name", "parameters", "GFLOPs a clip", "at", "frames", "sizes", "weights")
    rows = [
        (
            arch.name,
            *_cost(arch.name, args.classes),
            "{}x{}²".format(*arch.default_input),
            format_range(arch.frame_counts),
            format_range(arch.sizes),
            _weights(arch.name, args.weights_dir),
        )
        for arch in ARCHITECTURES.values()
    ]
    print(tabulate(rows, header, disable_numparse=True, colalign=("left", "right", "right", *["left"] * 4)))
    print(
        f"\nParameters and work (forwards, a multiply-add is two) are for {args.classes} classes and the frames and "
        f"size under 'at'. Weights marked * are at hand; others would be downloaded to\n{_folder(args.weights_dir)}"
    )
    return 0


def _cost(name: str, num_classes: int) -> tuple[str, str]:
    from models.cost import default_cost

    try:
        cost = default_cost(name, num_classes)
    except ModelError:
        return "not installed", ""
    return f"{cost.parameters:,}", f"{cost.flops / 1e9:.1f}"


def _weights(name: str, weights_dir: Path | None) -> str:
    from models.registry import get_architecture
    from models.weights import weights_available

    known = get_architecture(name).weights
    return ", ".join(f"{weights}*" if weights_available(name, weights, weights_dir) else weights for weights in known)


def _folder(weights_dir: Path | None) -> Path:
    from models.weight_files import weights_folder

    return weights_folder(weights_dir)


def _fetch(args: argparse.Namespace) -> int:
    from models.registry import get_architecture
    from models.weight_files import obtain_weight_file, weight_file_sha256

    for name in args.names:
        arch_name, _, weights = name.partition(":")
        known = get_architecture(arch_name).weights
        weights = weights or next(iter(known))
        if weights not in known:
            raise ModelError(f"{arch_name} has no weights {weights!r} to fetch: there are {', '.join(known)}")
        file = obtain_weight_file(known[weights], arch_name, weights, args.weights_dir)
        print(
            f"{arch_name}:{weights}  {file.stat().st_size / 1e6:.1f} MB  SHA-256 {weight_file_sha256(file)}  {file}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
