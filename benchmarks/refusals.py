"""How long commands take to refuse typing errors, and which large packages they import for it.

    python -m benchmarks.refusals

Each command runs in a process of its own, in several rounds after one that isn't counted. The ratio is to `python -c
pass` in the same round. tests/tuning/test_refusals.py checks that none of the large packages is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.tables import markdown_table, ratios, spread

PROJECT_FOLDER = Path(__file__).parents[1]

_SWEEP = ("tuning", "sweep", "--config", str(PROJECT_FOLDER / "configs/demo.yaml"))

REFUSED_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("tuning", "evaluate", "--run", "none"),
    ("tuning", "report", "--run", "none"),
    ("tuning", "predict", "--run", "none", "a.mp4"),
    ("tuning", "predict", "--model", "none", "a.mp4"),
    ("tuning", "predict", "--run", "none", "a.mp4", "--out", "a.mp4"),
    ("tuning", "export", "--run", "none", "--out", "exported"),
    ("tuning", "app", "--run", "none"),
    ("tuning", "ui", "--runs", "none"),
    ("tuning", "sweep", "--resume", "none"),
    ("tuning", "sweep", "--unknown"),
    ("tuning", "sweep", "--config", "none.yaml", "--data", "clips"),
    (*_SWEEP, "--data", "clips", "train.epoch=3"),
    (*_SWEEP, "--data", "clips", "train.epochs=-1"),
    (*_SWEEP, "--data", "clips", "space.arch=[resnet81]"),
    (*_SWEEP, "--data", "none"),
    (*_SWEEP, "--data", "clips.zip"),
    (*_SWEEP, "--data", "empty"),
    ("data", "audit", "none"),
    ("data", "audit", "clips.zip"),
    ("data", "groups", "clips.zip", "--out", "groups.csv"),
    ("data", "split", "clips.zip", "--out", "split.csv"),
    ("data", "split", "clips", "--out", "a.mp4"),
    ("data", "split", "clips", "--out", "split.csv", "--groups", "none.csv"),
    ("models", "fetch", "resnet81"),
)
"""Commands with a typing error, to be run in a folder that `make_place` has filled."""


def make_place(folder: Path) -> None:
    """Write the clips, which are empty files, and the other files that REFUSED_COMMANDS name."""
    for name in ("squat/1.mp4", "squat/2.mp4", "dip/1.mp4", "dip/2.mp4"):
        (folder / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "clips" / name).touch()
    (folder / "empty").mkdir()
    for name in ("clips.zip", "a.mp4"):
        (folder / name).touch()


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with a row per command."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        make_place(Path(folder))
        bare: list[float] = []
        seconds: dict[tuple[str, ...], list[float]] = {command: [] for command in REFUSED_COMMANDS}
        for number in range(args.rounds + 1):
            start = _seconds(["-c", "pass"], folder, code=0)
            times = {command: _seconds(["-m", *command], folder, code=2) for command in REFUSED_COMMANDS}
            if number:
                bare.append(start)
                for command, value in times.items():
                    seconds[command].append(value)
    rows = [
        [
            " ".join(command).replace(f"{PROJECT_FOLDER}/", ""),
            spread(values, ".2f", "s"),
            spread(ratios(values, bare), ".0f"),
        ]
        for command, values in seconds.items()
    ]
    print(markdown_table([["`python -c pass`", spread(bare, ".3f", "s"), "1"], *rows], ["command", "time", "ratio"]))


def _seconds(arguments: Sequence[str], folder: str, *, code: int) -> float:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_FOLDER)}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == code, (arguments, done.stderr.decode())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
