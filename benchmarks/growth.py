"""How building a store, splitting and the report's statistics scale with the number of clips.

    python -m benchmarks.growth

Each measurement runs in a process of its own. `build` decodes demo clips (about 160x120, 1 to 4 s) into an empty store
with 1 and 2 processes; there are some hundred different videos, and copies whose bytes differ. `split` splits clips of
22 classes, five clips per group. `statistics` computes what a report needs of the 15 % in the test split: intervals by
group, calibration, label issues. Memory is that of all processes together, with shared pages counted once.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.tables import markdown_table, spread
from benchmarks.process_tree import measure_command
from data.clip import Clip
from data.dataset.stratify import make_split
from data.demo import write_demo
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings

CLASSES = 22
CLIPS_PER_GROUP = 5
_RUN_TASK = "import sys; from benchmarks.growth import TASKS; TASKS[sys.argv[1]](*sys.argv[2:])"


@dataclass(frozen=True)
class ScalePoint:
    """One measurement of a task."""

    task: str
    clips: int
    seconds: float
    memory: float
    """Peak in MB."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per task and number of clips."""
    parser = argument_parser(__doc__)
    parser.add_argument("--build", type=int, nargs="*", default=[100, 1_000, 10_000], metavar="CLIPS")
    parser.add_argument("--split", type=int, nargs="*", default=[1_000, 10_000, 100_000], metavar="CLIPS")
    parser.add_argument("--statistics", type=int, nargs="*", default=[1_000, 10_000, 100_000], metavar="CLIPS")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    points: list[ScalePoint] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if args.build:
            _write_copies(folder / "clips", max(args.build))
        for _ in range(args.rounds):
            for clips in args.build:
                points.append(_measure(folder, "build, 1 process", "build", clips, 1))
                points.append(_measure(folder, "build, 2 processes", "build", clips, 2))
            points += [_measure(folder, "split", "split", clips) for clips in args.split]
            points += [_measure(folder, "statistics", "statistics", clips) for clips in args.statistics]
    print(f"{args.rounds} round(s), {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n\n{_table(points)}")


def _measure(folder: Path, title: str, task: str, clips: int, *arguments: int) -> ScalePoint:
    command = [sys.executable, "-c", _RUN_TASK, task, str(folder), str(clips), *map(str, arguments)]
    usage = measure_command(command, folder / "log.txt")
    point = ScalePoint(title, clips, json.loads((folder / "seconds.json").read_text()), usage.memory)
    print(f"{title}, {clips} clips: {point.seconds:.2f} s", file=sys.stderr, flush=True)
    return point


def _table(points: Sequence[ScalePoint]) -> str:
    rows = []
    for task, clips in dict.fromkeys((point.task, point.clips) for point in points):
        repeats = [point for point in points if (point.task, point.clips) == (task, clips)]
        seconds = [point.seconds for point in repeats]
        per_clip = [1000 * each / clips for each in seconds]
        memory = [point.memory for point in repeats]
        rows.append([task, f"{clips:,}", spread(seconds), spread(per_clip), spread(memory, ".0f")])
    return markdown_table(rows, ["what", "clips", "seconds", "ms per clip", "peak memory, MB"])


def _write_copies(folder: Path, clips: int) -> None:
    """Write demo clips again and again, each copy with a number appended so that its bytes are unique."""
    plan = write_demo(folder / "demo", classes=6, clips_per_class=48)
    contents = [(folder / "demo" / clip.path).read_bytes() for clip in plan if clip.path.endswith(".mp4")]
    for number in range(clips):
        # An MP4 box of type `free`, which decoders skip.
        text = f"{number:032}".encode()
        box = (8 + len(text)).to_bytes(4, "big") + b"free" + text
        (folder / f"{number:06}.mp4").write_bytes(contents[number % len(contents)] + box)


def _build(folder: str, clips: str, processes: str) -> None:
    paths = [f"{number:06}.mp4" for number in range(int(clips))]
    with tempfile.TemporaryDirectory(dir=folder) as root:
        store = FrameStore(Path(root), DecodeSettings(frames=8, short_side=64))
        _time(folder, lambda: store.build(Path(folder, "clips"), paths, workers=int(processes), progress=False))


def _split(folder: str, count: str) -> None:
    clips = _random_clips(int(count))
    _time(folder, lambda: make_split(clips))


def _random_clips(count: int) -> list[Clip]:
    """Return clips in groups of five; the largest class is nine times as frequent as the smallest."""
    rng = np.random.default_rng(0)
    frequencies = np.linspace(9, 1, CLASSES)
    groups = -(-count // CLIPS_PER_GROUP)
    class_of_group = rng.choice(CLASSES, size=groups, p=frequencies / frequencies.sum())
    clips = []
    for number in range(count):
        group, index = divmod(number, CLIPS_PER_GROUP)
        label = str(class_of_group[group])
        clips.append(Clip(path=f"{label}/{group}-{index}.mp4", label=label, group=str(group)))
    return clips


def _statistics(folder: str, count: str) -> None:
    # Imported here, so that the other tasks are measured without PyTorch.
    import torch

    from tuning.evaluation.label_issues import label_issues
    from tuning.training.bootstrap import score_intervals
    from tuning.training.calibration import calibrate, reliability_bins, risk_coverage_curve
    from tuning.training.predictions import Predictions

    torch.set_num_threads(1)
    torch.manual_seed(0)
    clips = int(count) * 15 // 100
    labels, logits = torch.randint(0, CLASSES, (clips,)), torch.randn(clips, CLASSES)
    logits[torch.arange(clips), labels] += 2
    predictions = Predictions([f"{n}.mp4" for n in range(clips)], labels, logits)
    probabilities = logits.softmax(1).double().numpy()

    def compute() -> None:
        score_intervals(predictions, [n // CLIPS_PER_GROUP for n in range(clips)])
        calibrate(predictions, 0.1)
        reliability_bins(probabilities, labels.numpy())
        risk_coverage_curve(probabilities.max(1), probabilities.argmax(1) == labels.numpy())
        label_issues(predictions.clip_ids, labels.numpy(), probabilities, [str(n) for n in range(CLASSES)])

    _time(folder, compute)


def _time(folder: str, work: Callable[[], object]) -> None:
    """Run a function and write its seconds to `seconds.json`."""
    started = time.perf_counter()
    work()
    Path(folder, "seconds.json").write_text(json.dumps(time.perf_counter() - started))


TASKS: dict[str, Callable[..., None]] = {"build": _build, "split": _split, "statistics": _statistics}
"""Tasks by name; their arguments are a folder, the number of clips, and for `build` the number of processes."""


if __name__ == "__main__":
    main()
