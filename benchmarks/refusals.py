"""How long commands take to refuse typing errors, and which large packages they import for it.

    python -m benchmarks.refusals

Each command runs in a process of its own, in several rounds after one that isn't counted. CPU time hardly depends on
what else runs on the machine; the ratio is to `python -c pass` in the same round. tests/tuning/test_refusals.py checks
that none of the large packages is imported.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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


class RefusalTime(NamedTuple):
    """How long a command takes, and how long it computes."""

    wall: float
    cpu: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with a row per command."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        make_place(Path(folder))
        rounds = [_round(folder) for _ in range(args.rounds + 1)][1:]
    bare, *commands = zip(*rounds, strict=True)
    rows = [
        _row("`python -c pass`", bare, bare),
        *(_row(" ".join(command), times, bare) for command, times in zip(REFUSED_COMMANDS, commands, strict=True)),
    ]
    print(markdown_table(rows, ["command", "time", "CPU time", "CPU time / `python -c pass`"]))


def _round(folder: str) -> list[RefusalTime]:
    refused = [_measure(["-m", *command], folder, code=2) for command in REFUSED_COMMANDS]
    return [_measure(["-c", "pass"], folder, code=0), *refused]


def _row(command: str, times: Sequence[RefusalTime], bare: Sequence[RefusalTime]) -> list[str]:
    cpu = [each.cpu for each in times]
    return [
        command.replace(f"{PROJECT_FOLDER}/", ""),
        spread([each.wall for each in times], ".2f", "s"),
        spread(cpu, ".2f", "s"),
        spread(ratios(cpu, [each.cpu for each in bare]), ".0f"),
    ]


def _measure(arguments: Sequence[str], folder: str, *, code: int) -> RefusalTime:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_FOLDER)}
    started, before = time.perf_counter(), _cpu_of_children()
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == code, (arguments, done.stderr.decode())
    return RefusalTime(time.perf_counter() - started, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
