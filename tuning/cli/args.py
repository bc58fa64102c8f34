"""What the commands' parsers have in common."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_run_option(command: argparse.ArgumentParser) -> None:
    """Add `--run DIR`, a run folder that must be given."""
    command.add_argument("--run", type=Path, required=True, metavar="DIR", help="run folder, such as runs/NAME")


def add_champion_options(command: argparse.ArgumentParser) -> None:
    """Add `--run DIR` and `--model DIR`, of which one must be given."""
    champion = command.add_mutually_exclusive_group(required=True)
    champion.add_argument("--run", type=Path, metavar="DIR", help="run folder, such as runs/NAME")
    champion.add_argument("--model", type=Path, metavar="DIR", help="folder of a champion, such as runs/NAME/best")
