"""What the commands' parsers have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from data.errors import DataError

_RUN_HELP = "run folder, such as runs/NAME, or `latest`"


def add_run_option(command: argparse.ArgumentParser) -> None:
    """Add `--run DIR`, a run folder that must be given."""
    command.add_argument("--run", type=Path, required=True, metavar="DIR", help=_RUN_HELP)


def add_data_option(command: argparse.ArgumentParser) -> None:
    """Add `--data DIR`, the folder in which the run's clips are now."""
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the run's clips; default: where the sweep read them, or where they were moved to with the run",
    )


def check_data_option(data: Path | None) -> None:
    """Check that `--data` is a folder, before anything that takes seconds to import.

    Raises:
        DataError: it is not.
    """
    if data is not None and not data.is_dir():
        problem = f"'{data}' is not a folder" if data.exists() else f"no such folder: '{data}'"
        raise DataError(f"{problem}; give --data DIR, the folder that has the run's clips, one sub-folder per class")


def add_champion_options(command: argparse.ArgumentParser) -> None:
    """Add `--run DIR` and `--model DIR`, of which one must be given."""
    champion = command.add_mutually_exclusive_group(required=True)
    champion.add_argument("--run", type=Path, metavar="DIR", help=_RUN_HELP)
    champion.add_argument("--model", type=Path, metavar="DIR", help="folder of a champion, such as runs/NAME/best")
