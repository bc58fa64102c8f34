"""How building a store, splitting and a report's statistics grow with the number of clips.

    python -m benchmarks.growth

Each measurement is a process of its own. `build` decodes the demo clips (about 160x120, 1 to 4 s), some hundred
different ones whose copies differ in bytes only, into an empty store with 1 and 2 processes; `split` makes a split of
clips of 22 classes, five clips a source; `statistics` is what a report computes of the 15 % that are tested: intervals
by recording, calibration, label issues. Memory is of all processes together, pages that they share counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.process_tree import measured
from benchmarks.spread import spread
from data.clip import Clip
from data.dataset.stratify import make_split
from data.demo import write_demo
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings

CLASSES = 22
_WORK = "import sys; from benchmarks.growth import WORK; WORK[sys.argv[1]](sys.argv[2:])"


@dataclass(frozen=True)
class Grown:
    """One measurement."""

    what: str
    clips: int
    seconds: float
    memory: float
    """MB."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=int, nargs="*", default=[100, 1_000, 10_000], metavar="CLIPS")
    parser.add_argument("--split", type=int, nargs="*", default=[1_000, 10_000, 100_000], metavar="CLIPS")
    parser.add_argument("--statistics", type=int, nargs="*", default=[1_000, 10_000, 100_000], metavar="CLIPS")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    found: list[Grown] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if args.build:
            _write_copies(place / "clips", max(args.build))
        for _ in range(args.rounds):
            for clips in args.build:
                for processes in (1, 2):
                    what = f"build, {processes} process{'es' * (processes > 1)}"
                    found.append(_measured(place, what, "build", clips, processes))
            found += [_measured(place, "split", "split", clips) for clips in args.split]
            found += [_measured(place, "statistics", "statistics", clips) for clips in args.statistics]
    print(f"{args.rounds} round(s), {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n\n{_table(found)}")


def _measured(place: Path, what: str, work: str, clips: int, *more: int) -> Grown:
    answer = place / "seconds.json"
    command = [sys.executable, "-c", _WORK, work, str(place), str(clips), *map(str, more)]
    usage = measured(command, place / "log.txt")
    found = Grown(what, clips, json.loads(answer.read_text()), usage.memory)
    print(f"{what}, {clips} clips: {found.seconds:.2f} s", file=sys.stderr, flush=True)
    return found


def _table(found: Sequence[Grown]) -> str:
    rows = []
    for what, clips in dict.fromkeys((each.what, each.clips) for each in found):
        these = [each for each in found if (each.what, each.clips) == (what, clips)]
        seconds = [each.seconds for each in these]
        each_clip = [1000 * each.seconds / clips for each in these]
        memory = [each.memory for each in these]
        rows.append([what, f"{clips:,}", spread(seconds, ".2f"), spread(each_clip, ".2f"), spread(memory, ".0f")])
    head = ["what", "clips", "seconds", "ms a clip", "peak memory, MB"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def _timed(place: str, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    work()
    Path(place, "seconds.json").write_text(json.dumps(time.perf_counter() - began))


def _write_copies(folder: Path, clips: int) -> None:
    """Files that all differ, though few of them in their pictures."""
    plan = write_demo(folder / "demo", classes=6, clips_per_class=48)
    contents = [(folder / "demo" / clip.path).read_bytes() for clip in plan if clip.path.endswith(".mp4")]
    for number in range(clips):
        # A box that players pass over.
        told = f"{number:032}".encode()
        box = (8 + len(told)).to_bytes(4, "big") + b"free" + told
        (folder / f"{number:06}.mp4").write_bytes(contents[number % len(contents)] + box)


def _build(words: list[str]) -> None:
    place, clips, processes = words[0], int(words[1]), int(words[2])
    with tempfile.TemporaryDirectory(dir=place) as folder:
        store = FrameStore(Path(folder), DecodeSettings(frames=8, short_side=64))
        paths = [f"{number:06}.mp4" for number in range(clips)]
        _timed(place, lambda: store.build(Path(place, "clips"), paths, workers=processes, progress=False))


def _split(words: list[str]) -> None:
    clips = _many_clips(int(words[1]))
    _timed(words[0], lambda: make_split(clips))


def _many_clips(count: int) -> list[Clip]:
    rng = np.random.default_rng(0)
    often = np.linspace(9, 1, CLASSES)
    of_source = rng.choice(CLASSES, size=-(-count // 5), p=often / often.sum())
    return [
        Clip(path=f"{of_source[n // 5]}/{n // 5}-{n % 5}.mp4", label=str(of_source[n // 5]), group=str(n // 5))
        for n in range(count)
    ]


def _statistics(words: list[str]) -> None:
    import torch

    from tuning.evaluation.label_issues import label_issues
    from tuning.training.bootstrap import score_intervals
    from tuning.training.calibration import calibrate, reliability_bins, risk_coverage_curve
    from tuning.training.predictions import Predictions

    torch.set_num_threads(1)
    torch.manual_seed(0)
    clips = int(words[1]) * 15 // 100
    labels, logits = torch.randint(0, CLASSES, (clips,)), torch.randn(clips, CLASSES)
    logits[torch.arange(clips), labels] += 2
    answers = Predictions([f"{n}.mp4" for n in range(clips)], labels, logits)
    probabilities = logits.softmax(1).double().numpy()

    def work() -> None:
        score_intervals(answers, [n // 5 for n in range(clips)])
        calibrate(answers, 0.1)
        reliability_bins(probabilities, labels.numpy())
        risk_coverage_curve(probabilities.max(1), probabilities.argmax(1) == labels.numpy())
        label_issues(answers.clip_ids, labels.numpy(), probabilities, [str(n) for n in range(CLASSES)])

    _timed(words[0], work)


WORK: dict[str, Callable[[list[str]], None]] = {"build": _build, "split": _split, "statistics": _statistics}
"""By name; each leaves its seconds in a file."""


if __name__ == "__main__":
    main()
