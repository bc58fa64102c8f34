"""What each option of a training step gains: `python -m benchmarks.train_step --arch resnet18 [--compile]`.

Each option alone against the plain step (fp32, AdamW tensor by tensor), then those that help together. The variants
take turns, so that what else the machine does hits all alike; the fastest round of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.training import (
    Setting,
    device_at_hand,
    device_name,
    noise_augment,
    noise_learner,
    resident_batch,
)
from data.loading.augment import AugmentSettings
from tuning.training.epoch import train_one_epoch
from tuning.training.learner import Learner


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    precision: str = "fp32"
    fused: bool = False
    train: dict[str, Any] = field(default_factory=dict)
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    args = _parse(argv)
    torch.set_num_threads(args.threads)
    device = device_at_hand()
    of = Setting(args.arch, args.frames, args.size, args.batch)
    variants = [
        Variant("plain"),
        Variant("fused AdamW", fused=True),
        Variant("bf16", "bf16"),
        Variant("checkpoint_activations", train={"checkpoint_activations": True}),
        Variant("ema", train={"ema": 0.99}),
        Variant("randaugment, colour, erasing", augmentation=AugmentSettings(randaugment=9, colour=0.3, erasing=0.25)),
        Variant("mixup, cutmix", augmentation=AugmentSettings(mixup=0.2, cutmix=1.0)),
        Variant("bf16, fused", "bf16", fused=True),
    ]
    if args.compile:
        variants += [Variant("compile", train={"compile": True})]
        variants += [Variant("bf16, fused, compile", "bf16", fused=True, train={"compile": True})]
    learners = [_learner(variant, of, device) for variant in variants]
    seconds = [min(times) for times in zip(*_rounds(variants, learners, of, args.rounds), strict=True)]
    rows = [
        [variant.name, f"{1000 * each / args.batch:.1f}", f"{seconds[0] / each:.2f}"]
        for variant, each in zip(variants, seconds, strict=True)
    ]
    print(f"{args.arch}, {args.frames} frames of {args.size}², batches of {args.batch}, {device_name(device)}\n")
    print(tabulate(rows, ["step", "ms a clip", "times as fast as plain"], tablefmt="github", disable_numparse=True))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU; a trial has one by default")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes to begin with")
    return parser.parse_args(argv)


def _learner(variant: Variant, of: Setting, device: torch.device) -> Learner:
    learner = noise_learner(of, device, variant.precision, **variant.train)
    for group in learner.optimizer.param_groups:
        group["fused"], group["foreach"] = variant.fused, False if not variant.fused else None
    return learner


def _rounds(variants: Sequence[Variant], learners: Sequence[Learner], of: Setting, rounds: int) -> list[list[float]]:
    """Seconds of a step of each variant, round by round; a round before the first is not counted."""
    device = learners[0].device
    augments = [noise_augment(of, device, variant.augmentation) for variant in variants]
    batch = resident_batch(of, device)
    found = []
    for number in range(rounds + 1):
        times = []
        for learner, augment in zip(learners, augments, strict=True):
            started = time.perf_counter()
            # At its end the loss is read: all is computed.
            train_one_epoch(learner, augment, [batch], epoch=1, seed=number, micro_batch=of.batch)
            times.append(time.perf_counter() - started)
        found.append(times)
    return found[1:]


if __name__ == "__main__":
    main()
