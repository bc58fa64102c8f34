"""`python -m tuning export`: write the champion as files for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from commandline import Subcommands
from tuning.cli.args import add_run_option


def add_parser(commands: Subcommands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("export", help="export a run's champion to PyTorch, ONNX and JSON files")
    add_run_option(command)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="model.pt2, model.onnx and model.json")
    command.set_defaults(command=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from tuning.export.check import GRAPH_FILE, MODEL_SETTINGS_FILE, ONNX_FILE, check_export
    from tuning.inference.champion_folder import find_champion

    best, _ = find_champion(args.run, None)
    check_export(args.out)

    # This takes seconds to import.
    from tuning.export.exporter import TOLERANCE, export_champion

    exported = export_champion(best, args.out)
    print(f"{GRAPH_FILE}, {ONNX_FILE} and {MODEL_SETTINGS_FILE} in {args.out}")
    print(f"a logit differs between ONNX and PyTorch by at most {exported.difference:.2g} (accepted: {TOLERANCE:g})")
    return 0
