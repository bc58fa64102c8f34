"""Several trials on one device at once against one after another.

    python -m benchmarks.packing                                                # on a GPU: resnet18 at its own clips
    python -m benchmarks.packing --frames 4 --size 64 --batch 4 --steps 6       # on a CPU, one thread a process

Each process trains as a trial does: its own learner, fed from one frame store of noise by its own loader. First one
trains alone, then two at once, and so on, all with the same steps; the rounds repeat that. `ratio` is the clips a
second of all together over those of one alone, that is how many times sooner they end than one after another: median,
least to most.

Processes that share a GPU take turns on it (`nvidia-cuda-mps-control -d` lets their kernels run side by side), so what
is gained is the time in which one alone would leave it idle.
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
from tabulate import tabulate
from torch import multiprocessing

from benchmarks.spread import ratios, spread
from benchmarks.training import (
    Setting,
    device_at_hand,
    device_name,
    noise_augment,
    noise_batches,
    noise_learner,
    setting,
)
from models.registry import ARCHITECTURES
from tuning.training.epoch import train_one_epoch
from tuning.training.precision import choose_precision


@dataclass(frozen=True)
class Plan:
    """What each process does."""

    of: Setting
    steps: int
    counts: tuple[int, ...]
    """So many train at once, in turn."""
    rounds: int
    workers: int
    """Loader processes of each."""
    folder: str
    """Of the frame store and of what is measured."""

    @property
    def phases(self) -> list[int]:
        """How many train in each phase, from the first round's to the last one's."""
        return list(self.counts) * self.rounds


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table, a row a number of processes."""
    args = _parse(argv)
    torch.set_num_threads(1)
    device = device_at_hand()
    of = setting(args.arch, args.batch, args.frames, args.size)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(of, args.steps, (1, *args.at_once), args.rounds, args.workers, folder)
        # The store is there before all ask for it.
        noise_batches(of, Path(folder), steps=1, workers=0, device=device)
        most = max(plan.counts)
        barrier = multiprocessing.get_context("spawn").Barrier(most)
        multiprocessing.spawn(_process, (plan, barrier), nprocs=most)
        seconds = _seconds(plan, most)
    each = f"{args.steps} steps of {of.batch} clips each"
    print(f"{of.arch}, {of.clip}, {each}, {args.rounds} rounds, {device_name(device)}\n")
    print(
        tabulate(_rows(plan, seconds), ["at once", "clips a second", "ratio"], tablefmt="github", disable_numparse=True)
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.packing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--arch", default="resnet18", choices=list(ARCHITECTURES))
    parser.add_argument("--at-once", nargs="+", type=int, default=[2, 3, 4], metavar="N")
    parser.add_argument("--frames", type=int, help="default: the architecture's own")
    parser.add_argument("--size", type=int, help="default: the architecture's own")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60 if on_gpu else 6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2 if on_gpu else 0, help="loader processes of each")
    return parser.parse_args(argv)


def _process(number: int, plan: Plan, barrier: Any) -> None:
    """One of the processes: trains in the phases that have room for it, and writes when it began and ended."""
    torch.set_num_threads(1)
    device = device_at_hand()
    learner = noise_learner(plan.of, device, choose_precision("auto", device))
    augment = noise_augment(plan.of, device)
    batches = noise_batches(plan.of, Path(plan.folder), steps=plan.steps, workers=plan.workers, device=device)

    def epoch() -> None:
        train_one_epoch(learner, augment, batches, epoch=1, seed=0, micro_batch=plan.of.batch)

    epoch()  # Loaders start, memory is found.
    spans = []
    for count in plan.phases:
        barrier.wait()
        started = time.monotonic()
        if number < count:
            epoch()  # At its end the losses are read: all is computed.
        spans.append((started, time.monotonic()))
        barrier.wait()
    Path(plan.folder, f"{number}.json").write_text(json.dumps(spans))


def _seconds(plan: Plan, processes: int) -> dict[int, list[float]]:
    """From the first one's begin to the last one's end, of each round, by how many trained."""
    spans = [json.loads(Path(plan.folder, f"{number}.json").read_text()) for number in range(processes)]
    found: dict[int, list[float]] = {count: [] for count in plan.counts}
    for phase, count in enumerate(plan.phases):
        taking_part = [each[phase] for each in spans[:count]]
        found[count].append(max(end for _, end in taking_part) - min(start for start, _ in taking_part))
    return found


def _rows(plan: Plan, seconds: dict[int, list[float]]) -> list[list[str]]:
    clips = plan.steps * plan.of.batch
    rows = []
    for count, times in seconds.items():
        gains = [count * ratio for ratio in ratios(seconds[1], times)]
        rows.append([str(count), f"{count * clips / statistics.median(times):.2f}", spread(gains)])
    return rows


if __name__ == "__main__":
    main()
