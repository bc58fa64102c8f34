"""Clips a second of each architecture in training, and whether a GPU waits for data.

    python -m benchmarks.step_rates                                   # on a GPU, at each architecture's own clips
    python -m benchmarks.step_rates --frames 2 --size 32 --batch 2    # on a CPU, at the smallest legal clips from there

Each way to train takes turns with the others on a batch that lies on the device; the median of the rounds counts. Then
the best of them (bf16, channels last) is fed from a frame store of noise through the project's loader, which crops and
flips as in a trial: `fed` is its clips a second over those with the batch at hand, 1 where data is never waited for.

On a GPU, of the fed steps: `busy` is the share of the time in which it computes (from torch's profiler, copies not
counted), `waits` are the points a step at which the host stood waiting for it (from CUDA's synchronisation warnings).
On a CPU the seconds are of computing time.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.training import (
    Clock,
    Setting,
    device_at_hand,
    device_name,
    noise_augment,
    noise_batches,
    noise_learner,
    resident_batch,
    setting,
    train_timed,
    uncounted_steps,
)
from data.loading.augment import Augment
from models.registry import ARCHITECTURES
from tuning.training.learner import Learner


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    precision: str
    channels_last: bool = True
    train: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fed:
    """What the steps of a loader-fed epoch show."""

    rate: float
    """Clips a second."""
    busy: float | None
    """Share of the time in which the GPU computes."""
    waits: float | None
    """A step."""


WAYS = (
    Way("fp32", "fp32", channels_last=False),
    Way("bf16", "bf16", channels_last=False),
    Way("bf16, channels last", "bf16"),
)
COMPILED = Way("compiled too", "bf16", train={"compile": True})


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table, a row an architecture."""
    args = _parse(argv)
    torch.set_num_threads(args.threads)
    device = device_at_hand()
    ways = [*WAYS, *([COMPILED] if args.compile else [])]
    rows = []
    for name in args.arch:
        of = setting(name, args.batch, args.frames, args.size)
        rows.append(_row(of, ways, args, device))
        # The table comes last, and a run may be cut short.
        print("; ".join(rows[-1]), flush=True)
    header = ["architecture", "clip", "batch", *(way.name for way in ways), "times fp32", "fed", "busy", "waits"]
    print(f"\nclips a second, {args.rounds} rounds of {args.steps} steps, {device_name(device)}\n")
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_rates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--arch", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    parser.add_argument("--frames", type=int, help="default: each architecture's own")
    parser.add_argument("--size", type=int, help="default: each architecture's own")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30 if on_gpu else 2, help="that count, of each round")
    parser.add_argument("--rounds", type=int, default=3 if on_gpu else 2)
    parser.add_argument("--workers", type=int, default=7 if on_gpu else 0, help="loader processes")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU; a trial has one by default")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes to begin with")
    return parser.parse_args(argv)


def _row(of: Setting, ways: Sequence[Way], args: argparse.Namespace, device: torch.device) -> list[str]:
    augment = noise_augment(of, device)
    learners = [noise_learner(of, device, way.precision, channels_last=way.channels_last, **way.train) for way in ways]
    rates, at_once = _resident_rates(of, learners, augment, args)
    best = WAYS.index(WAYS[-1])
    fed = _fed(of, learners[best], augment, args)
    del learners
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return [
        of.arch,
        of.clip,
        str(of.batch) if at_once == of.batch else f"{of.batch}, {at_once} at once",
        *(f"{rate:.2f}" for rate in rates),
        f"{rates[best] / rates[0]:.2f}",
        f"{fed.rate / rates[best]:.2f}",
        "no GPU" if fed.busy is None else f"{fed.busy:.0%}",
        "no GPU" if fed.waits is None else f"{fed.waits:.2f}",
    ]


def _resident_rates(
    of: Setting, learners: Sequence[Learner], augment: Augment, args: argparse.Namespace
) -> tuple[list[float], int]:
    """Clips a second of each learner, and the most clips at once that memory had room for with all of them."""
    device = learners[0].device
    batches = [resident_batch(of, device)] * (args.steps + uncounted_steps(device))
    rounds, at_once = [], of.batch
    for _ in range(args.rounds):
        seconds = []
        for learner in learners:
            clock = Clock(device)
            at_once = min(at_once, train_timed(learner, augment, batches, clock))
            seconds.append(clock.seconds)
        rounds.append(seconds)
    return [args.steps * of.batch / statistics.median(times) for times in zip(*rounds, strict=True)], at_once


def _fed(of: Setting, learner: Learner, augment: Augment, args: argparse.Namespace) -> Fed:
    steps = args.steps + uncounted_steps(learner.device)
    with tempfile.TemporaryDirectory() as folder:
        batches = noise_batches(of, Path(folder), steps=steps, workers=args.workers, device=learner.device)
        seconds = []
        for _ in range(args.rounds):
            clock = Clock(learner.device)
            train_timed(learner, augment, batches, clock)
            seconds.append(clock.seconds)
        rate = args.steps * of.batch / statistics.median(seconds)
        if learner.device.type != "cuda":
            return Fed(rate, None, None)
        return Fed(rate, _busy(learner, augment, batches), _waits(learner, augment, batches) / args.steps)


class _Profiled(Clock):
    """A clock that has the profiler watch what it counts."""

    profiler: torch.profiler.profile

    def start(self) -> None:
        super().start()
        self.profiler.start()

    def stop(self) -> None:
        super().stop()
        self.profiler.stop()


def _busy(learner: Learner, augment: Augment, batches: Any) -> float:
    """Share of the time from the first kernel's start to the last one's end in which any kernel runs."""
    clock = _Profiled(learner.device)
    clock.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    train_timed(learner, augment, batches, clock)
    kernels = sorted(
        (event.time_range.start, event.time_range.end)
        for event in clock.profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not event.is_user_annotation
        and not event.name.startswith(("Memcpy", "Memset"))
    )
    return covered(kernels) / (max(end for _, end in kernels) - kernels[0][0])


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of spans that are in order of their starts."""
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


class _Warned(Clock):
    """A clock during which CUDA warns of each point at which the host waits."""

    def start(self) -> None:
        super().start()
        torch.cuda.set_sync_debug_mode("warn")

    def stop(self) -> None:
        torch.cuda.set_sync_debug_mode("default")
        super().stop()


def _waits(learner: Learner, augment: Augment, batches: Any) -> int:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_timed(learner, augment, batches, _Warned(learner.device))
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


if __name__ == "__main__":
    main()
