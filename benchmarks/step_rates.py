"""Training clips per second of each architecture, and whether a GPU waits for data.

    python -m benchmarks.step_rates                                   # on a GPU, with each architecture's own clips
    python -m benchmarks.step_rates --frames 2 --size 32 --batch 2    # on a CPU, with about the smallest legal clips

Rounds of fp32, bf16 and bf16 with channels last alternate, on a batch in the device's memory; the median counts. Then
bf16 with channels last is fed from a frame store of noise by the project's loader, with crops and flips as in a trial:
`fed` is its clips per second divided by those of the batch in memory, 1 if the device never waits for data.

On a GPU, for the fed steps: `busy` is the share of time in which kernels run (from PyTorch's profiler, without
copies); `waits` is the number of points per step at which the host waits for the GPU (from CUDA's warnings about
synchronization). On a CPU, CPU time is measured.
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

from benchmarks.helpers.command_line import add_clip_arguments, argument_parser
from benchmarks.helpers.noise_training import (
    Clock,
    Workload,
    choose_workload,
    default_device,
    device_name,
    noise_augment,
    noise_batches,
    noise_learner,
    resident_batch,
    train_timed,
    warmup_steps,
)
from benchmarks.helpers.tables import markdown_table
from data.loading.augment import Augment
from models.registry import ARCHITECTURES
from tuning.training.learner import Learner


@dataclass(frozen=True)
class StepVariant:
    """One way to run a training step."""

    name: str
    precision: str
    channels_last: bool = True
    train: dict[str, Any] = field(default_factory=dict)
    """More settings of `TrainConfig`."""


@dataclass(frozen=True)
class FedSteps:
    """Measurements of steps that are fed by a loader."""

    rate: float
    """Clips per second."""
    busy: float | None
    """Share of time in which GPU kernels run."""
    waits: float | None
    """Per step."""


FED_VARIANT = StepVariant("bf16, channels last", "bf16")
VARIANTS = (
    StepVariant("fp32", "fp32", channels_last=False),
    StepVariant("bf16", "bf16", channels_last=False),
    FED_VARIANT,
)
COMPILED = StepVariant("compiled too", "bf16", train={"compile": True})


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per architecture."""
    args = _parse(argv)
    torch.set_num_threads(args.threads)
    device = default_device()
    variants = [*VARIANTS, *([COMPILED] if args.compile else [])]
    rows = []
    for arch in args.arch:
        rows.append(_row(choose_workload(arch, args.batch, args.frames, args.size), variants, args, device))
        # The table comes last, and the run may be interrupted before.
        print("; ".join(rows[-1]), flush=True)
    names = (variant.name for variant in variants)
    header = ["architecture", "clip", "batch", *names, "bf16, channels last / fp32", "fed", "busy", "waits"]
    print(f"\nclips per second, {args.rounds} rounds of {args.steps} steps, {device_name(device)}\n")
    print(markdown_table(rows, header))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__)
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--arch", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    add_clip_arguments(parser)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30 if on_gpu else 2, help="per round, without the first ones")
    parser.add_argument("--rounds", type=int, default=3 if on_gpu else 2)
    parser.add_argument("--workers", type=int, default=7 if on_gpu else 0, help="loader processes")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; a trial has one by default")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile, which first takes minutes")
    return parser.parse_args(argv)


def _row(
    workload: Workload, variants: Sequence[StepVariant], args: argparse.Namespace, device: torch.device
) -> list[str]:
    augment = noise_augment(workload, device)
    learners = [
        noise_learner(workload, device, each.precision, channels_last=each.channels_last, **each.train)
        for each in variants
    ]
    rates, micro_batch = _resident_rates(workload, learners, augment, args)
    fed_variant = variants.index(FED_VARIANT)
    fed = _measure_fed(workload, learners[fed_variant], augment, args)
    # Free the memory before the next architecture.
    del learners
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return [
        workload.arch,
        workload.clip,
        str(workload.batch) if micro_batch == workload.batch else f"{workload.batch} in parts of {micro_batch}",
        *(f"{rate:.2f}" for rate in rates),
        f"{rates[fed_variant] / rates[0]:.2f}",
        f"{fed.rate / rates[fed_variant]:.2f}",
        "no GPU" if fed.busy is None else f"{fed.busy:.0%}",
        "no GPU" if fed.waits is None else f"{fed.waits:.2f}",
    ]


def _resident_rates(
    workload: Workload, learners: Sequence[Learner], augment: Augment, args: argparse.Namespace
) -> tuple[list[float], int]:
    """Return each learner's clips per second, and the largest micro-batch that fits into memory with all of them."""
    device = learners[0].device
    batches = [resident_batch(workload, device)] * (args.steps + warmup_steps(device))
    rounds, micro_batch = [], workload.batch
    for _ in range(args.rounds):
        seconds = []
        for learner in learners:
            clock = Clock(device)
            micro_batch = min(micro_batch, train_timed(learner, augment, batches, clock))
            seconds.append(clock.seconds)
        rounds.append(seconds)
    clips = args.steps * workload.batch
    return [clips / statistics.median(times) for times in zip(*rounds, strict=True)], micro_batch


def _measure_fed(workload: Workload, learner: Learner, augment: Augment, args: argparse.Namespace) -> FedSteps:
    steps = args.steps + warmup_steps(learner.device)
    with tempfile.TemporaryDirectory() as folder:
        batches = noise_batches(workload, Path(folder), steps=steps, workers=args.workers, device=learner.device)
        seconds = []
        for _ in range(args.rounds):
            clock = Clock(learner.device)
            train_timed(learner, augment, batches, clock)
            seconds.append(clock.seconds)
        rate = args.steps * workload.batch / statistics.median(seconds)
        if learner.device.type != "cuda":
            return FedSteps(rate, None, None)
        busy = _busy_share(learner, augment, batches)
        return FedSteps(rate, busy, _count_waits(learner, augment, batches) / args.steps)


class _ProfilingClock(Clock):
    """A clock that profiles the time that it measures."""

    profiler: torch.profiler.profile

    def start(self) -> None:
        super().start()
        self.profiler.start()

    def stop(self) -> None:
        super().stop()
        self.profiler.stop()


def _busy_share(learner: Learner, augment: Augment, batches: Any) -> float:
    """Return the share of time, from the first kernel's start to the last one's end, in which any kernel runs."""
    clock = _ProfilingClock(learner.device)
    clock.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    train_timed(learner, augment, batches, clock)
    kernels = sorted(
        (event.time_range.start, event.time_range.end)
        for event in clock.profiler.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not event.is_user_annotation
        and not event.name.startswith(("Memcpy", "Memset"))
    )
    return union_length(kernels) / (max(end for _, end in kernels) - kernels[0][0])


def union_length(spans: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of intervals `(start, end)`, which are sorted by their starts."""
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


class _WarningClock(Clock):
    """A clock that lets CUDA warn of each wait of the host in the time that it measures."""

    def start(self) -> None:
        super().start()
        torch.cuda.set_sync_debug_mode("warn")

    def stop(self) -> None:
        torch.cuda.set_sync_debug_mode("default")
        super().stop()


def _count_waits(learner: Learner, augment: Augment, batches: Any) -> int:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_timed(learner, augment, batches, _WarningClock(learner.device))
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


if __name__ == "__main__":
    main()
