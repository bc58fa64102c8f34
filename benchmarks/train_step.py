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

from data.augment import Augment, Variety
from data.loading import Batch
from data.transforms import Normalise
from models.registry import architecture, build_model
from tuning.config import TrainConfig
from tuning.learner import Learner, build_learner
from tuning.loop import train_one_epoch

CLASSES = 22


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    precision: str = "fp32"
    fused: bool = False
    train: dict[str, Any] = field(default_factory=dict)
    variety: Variety = field(default_factory=Variety)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    args = _parse(argv)
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    variants = [
        Variant("plain"),
        Variant("fused AdamW", fused=True),
        Variant("bf16", "bf16"),
        Variant("checkpoint_activations", train={"checkpoint_activations": True}),
        Variant("ema", train={"ema": 0.99}),
        Variant("randaugment, colour, erasing", variety=Variety(randaugment=9, colour=0.3, erasing=0.25)),
        Variant("mixup, cutmix", variety=Variety(mixup=0.2, cutmix=1.0)),
        Variant("bf16, fused", "bf16", fused=True),
    ]
    if args.compile:
        variants += [Variant("compile", train={"compile": True})]
        variants += [Variant("bf16, fused, compile", "bf16", fused=True, train={"compile": True})]
    learners = [_learner(variant, args, device) for variant in variants]
    seconds = [min(times) for times in zip(*_rounds(variants, learners, args, device), strict=True)]
    rows = [
        [variant.name, f"{1000 * each / args.batch:.1f}", f"{seconds[0] / each:.2f}"]
        for variant, each in zip(variants, seconds, strict=True)
    ]
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{args.threads} CPU thread(s)"
    print(f"{args.arch}, {args.frames} frames of {args.size}², batches of {args.batch}, {where}\n")
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


def _learner(variant: Variant, args: argparse.Namespace, device: torch.device) -> Learner:
    torch.manual_seed(0)
    model = build_model(args.arch, {}, num_classes=CLASSES, num_frames=args.frames, size=args.size).to(device)
    train = TrainConfig(epochs=1000, size=args.size, batch_size=args.batch, **variant.train)
    learner = build_learner(
        model,
        1e-4,
        train,
        stages=architecture(args.arch).stages,
        steps_per_epoch=1,
        device=device,
        precision=variant.precision,
    )
    for group in learner.optimizer.param_groups:
        group["fused"], group["foreach"] = variant.fused, False if not variant.fused else None
    return learner


def _rounds(
    variants: Sequence[Variant], learners: Sequence[Learner], args: argparse.Namespace, device: torch.device
) -> list[list[float]]:
    """Seconds of a step of each variant, round by round; a round before the first is not counted."""
    arch = architecture(args.arch)
    normalise = Normalise(arch.mean, arch.std)
    augments = [Augment(normalise, CLASSES, variant.variety) for variant in variants]
    shape = (args.batch, args.frames, 3, args.size, args.size)
    batch = Batch(torch.randint(0, 256, shape, dtype=torch.uint8), torch.arange(args.batch) % CLASSES, ["x"])
    rounds = []
    for number in range(args.rounds + 1):
        times = []
        for learner, augment in zip(learners, augments, strict=True):
            started = time.perf_counter()
            train_one_epoch(learner, augment, [batch], epoch=1, seed=number, micro_batch=args.batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        rounds.append(times)
    return rounds[1:]


if __name__ == "__main__":
    main()
