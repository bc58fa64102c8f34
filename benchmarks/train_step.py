"""Speed-up of each option of a training step.

    python -m benchmarks.train_step --arch resnet18 [--compile]

Each option alone is compared with the plain step (fp32, AdamW without fusion), then those that combine well. Rounds of
the variants alternate, so that other work on the machine affects all of them; the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.noise_training import (
    Workload,
    default_device,
    device_name,
    noise_augment,
    noise_learner,
    resident_batch,
)
from benchmarks.helpers.tables import markdown_table
from data.loading.augment import AugmentSettings
from models.registry import ARCHITECTURES
from tuning.training.epoch import train_one_epoch
from tuning.training.learner import Learner


@dataclass(frozen=True)
class StepOptions:
    """One way to run a training step."""

    name: str
    precision: str = "fp32"
    fused: bool = False
    train: dict[str, Any] = field(default_factory=dict)
    """More settings of `TrainConfig`."""
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)


OPTIONS = (
    StepOptions("plain"),
    StepOptions("fused AdamW", fused=True),
    StepOptions("bf16", "bf16"),
    StepOptions("checkpoint_activations", train={"checkpoint_activations": True}),
    StepOptions("ema", train={"ema": 0.99}),
    StepOptions("randaugment, colour, erasing", augmentation=AugmentSettings(randaugment=9, colour=0.3, erasing=0.25)),
    StepOptions("mixup, cutmix", augmentation=AugmentSettings(mixup=0.2, cutmix=1.0)),
    StepOptions("bf16, fused", "bf16", fused=True),
)
COMPILED_OPTIONS = (
    StepOptions("compile", train={"compile": True}),
    StepOptions("bf16, fused, compile", "bf16", fused=True, train={"compile": True}),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per variant of the step."""
    args = _parse(argv)
    torch.set_num_threads(args.threads)
    device = default_device()
    workload = Workload(args.arch, args.frames, args.size, args.batch)
    variants = [*OPTIONS, *(COMPILED_OPTIONS if args.compile else ())]
    learners = [_learner(variant, workload, device) for variant in variants]
    seconds = [min(times) for times in zip(*_measure(variants, learners, workload, args.rounds), strict=True)]
    rows = [
        [variant.name, f"{1000 * each / args.batch:.1f}", f"{seconds[0] / each:.2f}"]
        for variant, each in zip(variants, seconds, strict=True)
    ]
    print(f"{args.arch}, {args.frames} frames of {args.size}², batches of {args.batch}, {device_name(device)}\n")
    print(markdown_table(rows, ["step", "ms per clip", "speed-up"]))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--arch", default="resnet18", choices=list(ARCHITECTURES))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; a trial has one by default")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile, which first takes minutes")
    return parser.parse_args(argv)


def _learner(variant: StepOptions, workload: Workload, device: torch.device) -> Learner:
    learner = noise_learner(workload, device, variant.precision, **variant.train)
    for group in learner.optimizer.param_groups:
        group["fused"], group["foreach"] = variant.fused, None if variant.fused else False
    return learner


def _measure(
    variants: Sequence[StepOptions], learners: Sequence[Learner], workload: Workload, rounds: int
) -> list[list[float]]:
    """Return the seconds of each variant's step, one list per round; a round before the first does not count."""
    device = learners[0].device
    augments = [noise_augment(workload, device, variant.augmentation) for variant in variants]
    batch = resident_batch(workload, device)
    seconds = []
    for number in range(rounds + 1):
        times = []
        for learner, augment in zip(learners, augments, strict=True):
            started = time.perf_counter()
            # It reads the loss at its end, so all kernels have finished when it returns.
            train_one_epoch(learner, augment, [batch], epoch=1, seed=number, micro_batch=workload.batch)
            times.append(time.perf_counter() - started)
        seconds.append(times)
    return seconds[1:]


if __name__ == "__main__":
    main()
