"""The whole job, from a folder of clips to a champion and its test scores, as others do it and as this project does.

    python -m benchmarks.whole_sweep                                   # 200 clips of 720p, five rounds: hours
    python -m benchmarks.whole_sweep --clips 60 --rounds 1 --only notebook sweep

The same eight trials of four epochs (`benchmarks/whole_sweep.yaml`: ResNet18 and C3D, 8 and 16 frames, two samplers),
the same split, models, steps, batches and seeds, each in its own processes, in turns, `--rounds` times:

- `notebook`: one trial after another, every clip decoded again at every epoch, all to the end (`notebook_sweep`);
- `plain`: the same loader in the plainest Ray Tune and Train set-up, as many trials at once as there are CPUs or GPUs
  (`plain_sweep`);
- `sweep`: `python -m tuning sweep` without ASHA, its frame store built from nothing;
- `asha`: the same with ASHA;
- `again`: `asha` once more, on the store that is there.

The first two stop at the champion's test scores; ours also measures its trials, writes to MLflow, registers a model and
makes its report. Each round's figures go to `--out` as lines of JSON, so that a table can be made of several calls; its
ratios are between set-ups of the same round, since a machine is not equally fast on all days.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

from benchmarks.large_clips import Kind, write_large_clips
from benchmarks.process_tree import measured
from benchmarks.spread import spread

CONFIG = Path(__file__).with_suffix(".yaml")
SET_UPS = ("notebook", "plain", "sweep", "asha", "again")


@dataclass(frozen=True)
class Done:
    """One search."""

    set_up: str
    round: int
    seconds: float
    cpu: float
    memory: float
    val_macro_f1: float
    """The best trial's best epoch."""
    test_macro_f1: float
    decoded: int | None
    """Clips that this project decoded."""


@dataclass(frozen=True)
class Job:
    """What is searched."""

    clips: Path
    split: Path
    folder: Path
    """Of the round."""
    config: Path


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.whole_sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a clip, at 30 frames a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=SET_UPS, default=SET_UPS, help="`again` needs `asha`")
    parser.add_argument("--data", type=Path, help="where the clips are, or are to be kept; default: a temporary folder")
    parser.add_argument("--config", type=Path, default=CONFIG, help="another search")
    parser.add_argument("--out", type=Path, default=Path("whole_sweep.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print what --out has")
    args = parser.parse_args(argv)
    if not args.table:
        with tempfile.TemporaryDirectory() as folder:
            _measure(args, Path(folder))
    rows = [Done(**json.loads(line)) for line in args.out.read_text().splitlines()]
    print(f"{1 + max(row.round for row in rows)} round(s), {os.cpu_count()} CPUs\n\n{_table(rows)}")


def _measure(args: argparse.Namespace, folder: Path) -> None:
    clips = (args.data or folder / "clips").resolve()
    write_large_clips(clips, args.clips, Kind(args.seconds))
    split = folder / "split.csv"
    groups = ["--groups", str(clips / "sources.csv")]
    subprocess.run([sys.executable, "-m", "data", "split", str(clips), "--out", str(split), *groups], check=True)
    before = args.out.read_text().splitlines() if args.out.exists() else []
    first = 1 + max((json.loads(line)["round"] for line in before), default=-1)
    for number in range(first, first + args.rounds):
        place = folder / str(number)
        place.mkdir()
        for set_up in args.only:
            done = _run(set_up, number, Job(clips, split, place, args.config.resolve()))
            print(f"{set_up}: {done.seconds:.0f} s", file=sys.stderr, flush=True)
            with args.out.open("a") as lines:
                lines.write(json.dumps(asdict(done)) + "\n")
        shutil.rmtree(place)


def _run(set_up: str, number: int, job: Job) -> Done:
    out = job.folder / set_up
    out.mkdir()
    if set_up in ("notebook", "plain"):
        files = ["--config", str(job.config), "--data", str(job.clips), "--split", str(job.split), "--out", str(out)]
        usage = measured([sys.executable, "-m", f"benchmarks.{set_up}_sweep", *files], out / "log.txt")
        scores, decoded = json.loads((out / "scores.json").read_text()), None
    else:
        usage = measured(_sweep_command(set_up, job, out), out / "log.txt")
        scores, decoded = _scores(out / "run"), _decoded(out / "run")
    return Done(set_up, number, usage.seconds, usage.cpu, usage.memory, **scores, decoded=decoded)


def _sweep_command(set_up: str, job: Job, out: Path) -> list[str]:
    store = job.folder / ("asha" if set_up == "again" else set_up) / "frame_store"
    settings = [f"runs_dir={out}", f"store.dir={store}", *(["search.asha=null"] if set_up == "sweep" else [])]
    files = ["--config", str(job.config), "--data", str(job.clips), "--split", str(job.split), "--name", "run"]
    return [sys.executable, "-m", "tuning", "sweep", *files, *settings]


def _scores(run: Path) -> dict[str, float]:
    with (run / "results.csv").open(newline="") as stream:
        best = max(float(row["val_macro_f1"]) for row in csv.DictReader(stream) if row["val_macro_f1"])
    return {"val_macro_f1": best, "test_macro_f1": json.loads((run / "test/metrics.json").read_text())["macro_f1"]}


def _decoded(run: Path) -> int:
    return int(json.loads((run / "made.json").read_text())[0]["decoded"])


def _table(rows: Sequence[Done]) -> str:
    head = ["set-up", "rounds", "seconds", "notebook / it", "it / asha", "CPU seconds", "notebook / it", "it / asha"]
    return tabulate(
        [_row(name, rows) for name in SET_UPS if any(row.set_up == name for row in rows)],
        [*head, "peak memory", "best val macro-F1", "test macro-F1", "clips decoded"],
        tablefmt="github",
        disable_numparse=True,
    )


def _row(name: str, rows: Sequence[Done]) -> list[str]:
    mine = [row for row in rows if row.set_up == name]
    return [
        name,
        str(len(mine)),
        *_cost("seconds", name, rows),
        *_cost("cpu", name, rows),
        f"{_spread([row.memory / 1000 for row in mine], '.1f')} GB",
        _spread([row.val_macro_f1 for row in mine], ".3f"),
        _spread([row.test_macro_f1 for row in mine], ".3f"),
        ", ".join(sorted({str(row.decoded) for row in mine})) if mine[0].decoded is not None else "each, every epoch",
    ]


def _cost(what: str, name: str, rows: Sequence[Done]) -> list[str]:
    its, notebook, asha = (
        {row.round: getattr(row, what) for row in rows if row.set_up == of} for of in (name, "notebook", "asha")
    )
    ratios = (_ratios(notebook, its), _ratios(its, asha))
    return [_spread(list(its.values()), ".0f"), *(_spread(values, ".2f") for values in ratios)]


def _ratios(some: Mapping[int, float], others: Mapping[int, float]) -> list[float]:
    """Of the rounds that have both."""
    return [value / others[number] for number, value in some.items() if number in others]


def _spread(values: Sequence[float], how: str) -> str:
    if not values:
        return ""
    same = f"{min(values):{how}}" == f"{max(values):{how}}"
    return f"{values[0]:{how}}" if same else spread(values, how)


if __name__ == "__main__":
    main()
