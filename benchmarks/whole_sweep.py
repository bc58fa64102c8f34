"""From a folder of clips to a champion with test scores, as others do it and as this project does.

    python -m benchmarks.whole_sweep                                   # 200 clips of 720p, five rounds: hours
    python -m benchmarks.whole_sweep --clips 60 --rounds 1 --only notebook sweep

The same eight trials of four epochs (`benchmarks/whole_sweep.yaml`: ResNet18 and C3D, 8 and 16 frames, two samplers)
with the same split, models, steps, batches and seeds. Each set-up runs in its own processes; they alternate, `--rounds`
times:

- `notebook`: one trial after another, all to the end, every epoch decoding every clip again (`notebook_sweep`);
- `plain`: the same loader in the plainest set-up of Ray Tune and Ray Train, with one concurrent trial per GPU, or per
  CPU without one (`plain_sweep`);
- `sweep`: `python -m tuning sweep` without ASHA, from an empty frame store;
- `asha`: the same with ASHA;
- `again`: `asha` once more, with the store that `asha` has filled.

The first two end with the champion's test scores; this project also profiles its trials, writes to MLflow, registers a
model and writes its report. Each measurement is appended to `--out` as a line of JSON, so that a table can be made of
several calls. Ratios are between set-ups of the same round, since a machine is not equally fast on all days.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.helpers.command_line import argument_parser, run_python
from benchmarks.helpers.large_clips import LargeClipFormat, write_large_clips
from benchmarks.helpers.tables import markdown_table, spread
from benchmarks.process_tree import measure_command

CONFIG = Path(__file__).with_suffix(".yaml")
SET_UPS = ("notebook", "plain", "sweep", "asha", "again")


@dataclass(frozen=True)
class SetUpResult:
    """One set-up in one round; a line of `--out` has the same names."""

    set_up: str
    round: int
    seconds: float
    cpu: float
    """CPU seconds of all processes."""
    memory: float
    """Peak of all processes together in MB."""
    val_macro_f1: float
    """Of the best epoch of the best trial."""
    test_macro_f1: float
    decoded: int | None
    """Clips that were decoded into the store; None for set-ups without a store."""


@dataclass(frozen=True)
class SweepFiles:
    """Input of a set-up, and the folder of its round."""

    clips: Path
    split: Path
    config: Path
    round_folder: Path


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per set-up."""
    parser = argument_parser(__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a clip, with 30 frames per second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=SET_UPS, default=SET_UPS, help="`again` needs `asha`")
    parser.add_argument("--data", type=Path, help="folder for the clips, reused if complete; default: a temporary one")
    parser.add_argument("--config", type=Path, default=CONFIG, help="settings of the sweep")
    parser.add_argument("--out", type=Path, default=Path("whole_sweep.jsonl"), help="JSON lines; default: %(default)s")
    parser.add_argument("--table", action="store_true", help="measure nothing, only print the table of --out")
    args = parser.parse_args(argv)
    if not args.table:
        with tempfile.TemporaryDirectory() as folder:
            _measure(args, Path(folder))
    results = [SetUpResult(**json.loads(line)) for line in args.out.read_text().splitlines()]
    print(f"{1 + max(each.round for each in results)} round(s), {os.cpu_count()} CPUs\n\n{_table(results)}")


def _measure(args: argparse.Namespace, folder: Path) -> None:
    """Run all rounds and append their results to `--out`; rounds are numbered on from those in the file."""
    clips = (args.data or folder / "clips").resolve()
    write_large_clips(clips, args.clips, LargeClipFormat(args.seconds))
    split = folder / "split.csv"
    groups = ["--groups", str(clips / "sources.csv")]
    run_python(["-m", "data", "split", str(clips), "--out", str(split), *groups], "the split")
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    first_round = 1 + max((json.loads(line)["round"] for line in lines), default=-1)
    for number in range(first_round, first_round + args.rounds):
        round_folder = folder / str(number)
        round_folder.mkdir()
        for set_up in args.only:
            result = _run(set_up, number, SweepFiles(clips, split, args.config.resolve(), round_folder))
            print(f"{set_up}: {result.seconds:.0f} s", file=sys.stderr, flush=True)
            with args.out.open("a") as stream:
                stream.write(json.dumps(asdict(result)) + "\n")
        shutil.rmtree(round_folder)


def _run(set_up: str, number: int, files: SweepFiles) -> SetUpResult:
    out = files.round_folder / set_up
    out.mkdir()
    inputs = ["--config", str(files.config), "--data", str(files.clips), "--split", str(files.split)]
    decoded = None
    if set_up in ("notebook", "plain"):
        module = [f"benchmarks.{set_up}_sweep", *inputs, "--out", str(out)]
        usage = measure_command([sys.executable, "-m", *module], out / "log.txt")
        scores = json.loads((out / "scores.json").read_text())
    else:
        store = files.round_folder / ("asha" if set_up == "again" else set_up) / "frame_store"
        settings = [f"runs_dir={out}", f"store.dir={store}", *(["search.asha=null"] if set_up == "sweep" else [])]
        module = ["tuning", "sweep", *inputs, "--name", "run", *settings]
        usage = measure_command([sys.executable, "-m", *module], out / "log.txt")
        scores, decoded = _read_scores(out / "run"), _read_decoded(out / "run")
    return SetUpResult(set_up, number, usage.seconds, usage.cpu, usage.memory, **scores, decoded=decoded)


def _read_scores(run: Path) -> dict[str, float]:
    with (run / "results.csv").open(newline="") as stream:
        best = max(float(row["val_macro_f1"]) for row in csv.DictReader(stream) if row["val_macro_f1"])
    return {"val_macro_f1": best, "test_macro_f1": json.loads((run / "test/metrics.json").read_text())["macro_f1"]}


def _read_decoded(run: Path) -> int:
    return int(json.loads((run / "made.json").read_text())[0]["decoded"])


def _table(results: Sequence[SetUpResult]) -> str:
    cost_columns = ("notebook / this", "this / asha")
    header = ["set-up", "rounds", "seconds", *cost_columns, "CPU seconds", *cost_columns]
    return markdown_table(
        [_row(name, results) for name in SET_UPS if any(each.set_up == name for each in results)],
        [*header, "peak memory", "best val macro-F1", "test macro-F1", "clips decoded"],
    )


def _row(name: str, results: Sequence[SetUpResult]) -> list[str]:
    repeats = [each for each in results if each.set_up == name]
    with_store = repeats[0].decoded is not None
    return [
        name,
        str(len(repeats)),
        *_cost_cells("seconds", name, results),
        *_cost_cells("cpu", name, results),
        f"{spread([each.memory / 1000 for each in repeats], '.1f')} GB",
        spread([each.val_macro_f1 for each in repeats], ".3f"),
        spread([each.test_macro_f1 for each in repeats], ".3f"),
        ", ".join(sorted({str(each.decoded) for each in repeats})) if with_store else "all, every epoch",
    ]


def _cost_cells(field: str, name: str, results: Sequence[SetUpResult]) -> list[str]:
    """Return a set-up's cost, the notebook's divided by it, and it divided by that of `asha`."""
    this, notebook, asha = (
        {each.round: getattr(each, field) for each in results if each.set_up == set_up}
        for set_up in (name, "notebook", "asha")
    )
    return [spread(list(this.values()), ".0f"), spread(_ratios(notebook, this)), spread(_ratios(this, asha))]


def _ratios(numerators: Mapping[int, float], denominators: Mapping[int, float]) -> list[float]:
    """Divide the costs of those rounds in which both set-ups ran."""
    return [value / denominators[number] for number, value in numerators.items() if number in denominators]


if __name__ == "__main__":
    main()
