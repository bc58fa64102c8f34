"""Several trials that share a GPU, against the same trials one after another.

    python -m benchmarks.gpu_sharing                                              # on a GPU: resnet18, its own clips
    python -m benchmarks.gpu_sharing --frames 4 --size 64 --batch 4 --steps 6     # on a CPU, one thread per process

Each process trains like a trial: its own learner, fed by its own loader from one frame store of noise. In each round
one process trains alone, then two concurrently, and so on, all for the same number of steps. `ratio` is the clips per
second of all processes divided by those of one alone: how many times earlier they end than one after another (median,
smallest and largest over the rounds).

Processes that share a GPU take turns on it (with `nvidia-cuda-mps-control -d` their kernels run concurrently), so the
gain is the time that one process alone would leave it idle.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from benchmarks.helpers.command_line import add_clip_arguments, argument_parser
from benchmarks.helpers.noise_training import (
    Workload,
    choose_workload,
    default_device,
    device_name,
    noise_augment,
    noise_batches,
    noise_learner,
)
from benchmarks.helpers.tables import markdown_table, ratios, spread
from models.registry import ARCHITECTURES
from tuning.training.epoch import train_one_epoch
from tuning.training.precision import choose_precision


@dataclass(frozen=True)
class SharingSchedule:
    """What all processes do."""

    workload: Workload
    steps: int
    counts: tuple[int, ...]
    """Numbers of processes that train concurrently, in order."""
    rounds: int
    workers: int
    """Loader processes of each process."""
    folder: str
    """For the frame store and the measured times."""

    @property
    def phases(self) -> list[int]:
        """The number of processes that train in each phase of all rounds."""
        return list(self.counts) * self.rounds


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per number of processes."""
    args = _parse(argv)
    torch.set_num_threads(1)
    device = default_device()
    workload = choose_workload(args.arch, args.batch, args.frames, args.size)
    with tempfile.TemporaryDirectory() as folder:
        schedule = SharingSchedule(workload, args.steps, (1, *args.at_once), args.rounds, args.workers, folder)
        # Write the store before the processes read it.
        noise_batches(workload, Path(folder), steps=1, workers=0, device=device)
        processes = max(schedule.counts)
        barrier = multiprocessing.get_context("spawn").Barrier(processes)
        multiprocessing.spawn(_train, (schedule, barrier), nprocs=processes)
        seconds = _phase_seconds(schedule, processes)
    steps = f"{args.steps} steps of {workload.batch} clips each"
    print(f"{workload.arch}, {workload.clip}, {steps}, {args.rounds} rounds, {device_name(device)}\n")
    print(markdown_table(_rows(schedule, seconds), ["trials in parallel", "clips per second", "ratio"]))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__)
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--arch", default="resnet18", choices=list(ARCHITECTURES))
    parser.add_argument(
        "--at-once", nargs="+", type=int, default=[2, 3, 4], metavar="N", help="numbers of concurrent processes"
    )
    add_clip_arguments(parser)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60 if on_gpu else 6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2 if on_gpu else 0, help="loader processes of each process")
    return parser.parse_args(argv)


def _train(number: int, schedule: SharingSchedule, barrier: Any) -> None:
    """Train in the phases of more than `number` processes and write when each phase started and ended."""
    torch.set_num_threads(1)
    device, workload = default_device(), schedule.workload
    learner = noise_learner(workload, device, choose_precision("auto", device))
    augment = noise_augment(workload, device)
    folder = Path(schedule.folder)
    batches = noise_batches(workload, folder, steps=schedule.steps, workers=schedule.workers, device=device)

    def epoch() -> None:
        # It reads the losses at its end, so all kernels have finished when it returns.
        train_one_epoch(learner, augment, batches, epoch=1, seed=0, micro_batch=workload.batch)

    epoch()  # Starts the loader and allocates memory.
    spans = []
    for count in schedule.phases:
        barrier.wait()
        started = time.monotonic()
        if number < count:
            epoch()
        spans.append((started, time.monotonic()))
        barrier.wait()
    (folder / f"{number}.json").write_text(json.dumps(spans))


def _phase_seconds(schedule: SharingSchedule, processes: int) -> dict[int, list[float]]:
    """Return, by number of processes, the seconds from the first start to the last end, one value per round."""
    spans = [json.loads(Path(schedule.folder, f"{number}.json").read_text()) for number in range(processes)]
    seconds: dict[int, list[float]] = {count: [] for count in schedule.counts}
    for phase, count in enumerate(schedule.phases):
        trained = [each[phase] for each in spans[:count]]
        seconds[count].append(max(end for _, end in trained) - min(start for start, _ in trained))
    return seconds


def _rows(schedule: SharingSchedule, seconds: dict[int, list[float]]) -> list[list[str]]:
    clips = schedule.steps * schedule.workload.batch
    rows = []
    for count, times in seconds.items():
        gains = [count * ratio for ratio in ratios(seconds[1], times)]
        rows.append([str(count), f"{count * clips / statistics.median(times):.2f}", spread(gains)])
    return rows


if __name__ == "__main__":
    main()
