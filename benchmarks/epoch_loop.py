"""One epoch of training by this project's loop and by PyTorch Lightning's.

    python -m benchmarks.epoch_loop --arch resnet18 --frames 8 --size 64

The same model, the same optimiser, schedule, precision and gradient clipping, the same batches from the same frame
store, on one thread (or one GPU), in turns. Lightning runs with its progress bar, logger and checkpoints switched off;
a trainer, which it needs anew for each epoch here, counts as its time. `--batch 1 --size 32` shows what a loop itself
costs. Lightning is not among the requirements:

    pip install lightning==2.6.6
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from tabulate import tabulate
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.spread import ratios, spread
from benchmarks.training import (
    Clock,
    Setting,
    device_at_hand,
    device_name,
    noise_augment,
    noise_batches,
    noise_learner,
    setting,
)
from data.loading.augment import Augment
from data.loading.loaders import Batch
from tuning.training.epoch import train_one_epoch
from tuning.training.learner import Learner
from tuning.training.precision import choose_precision


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="of the loader")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    device = device_at_hand()
    of, precision = setting(args.arch, args.batch, args.frames, args.size), choose_precision("auto", device)
    with tempfile.TemporaryDirectory() as folder:
        batches = noise_batches(of, Path(folder), steps=args.steps, workers=args.workers, device=device)
        loops = {"this project": _ours(of, batches, device, precision), "Lightning": _lightning(of, batches, precision)}
        found = _measure(loops, device, args.rounds)
    print(f"{args.arch}, {of.clip}, {args.steps} steps of {args.batch}, {precision}, {device_name(device)}")
    print(f"lightning {version('lightning')}, torch {torch.__version__}, {os.cpu_count()} CPUs\n")
    print(_table(found, args.steps))


def _measure(loops: dict[str, Callable[[], None]], device: torch.device, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name, epoch in loops.items():
            clock = Clock(device)
            clock.start()
            epoch()
            clock.stop()
            # The first finds memory and picks kernels.
            if number:
                found[name].append(clock.seconds)
    return found


def _table(found: dict[str, list[float]], steps: int) -> str:
    ours = found["this project"]
    return tabulate(
        [
            [name, f"{1000 * statistics.median(seconds) / steps:.1f} ms", spread(ratios(seconds, ours), ".3f")]
            for name, seconds in found.items()
        ],
        ["loop", "a step", "/ this project"],
        tablefmt="github",
        disable_numparse=True,
    )


def _ours(of: Setting, batches: DataLoader[Any], device: torch.device, precision: str) -> Callable[[], None]:
    learner, augment = noise_learner(of, device, precision), noise_augment(of, device)

    def epoch() -> None:
        train_one_epoch(learner, augment, batches, epoch=1, seed=0, micro_batch=of.batch)

    return epoch


class _Module(lightning.LightningModule):
    """The same model, loss and optimiser as Lightning wants them."""

    def __init__(self, learner: Learner, augment: Augment) -> None:
        super().__init__()
        self.model, self.normalise, self._learner = learner.model, augment.normalise, learner

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        return F.cross_entropy(self.model(self.normalise(batch.frames)), batch.label)

    def configure_optimizers(self) -> Any:
        schedule = {"scheduler": self._learner.schedule, "interval": "step"}
        return {"optimizer": self._learner.optimizer, "lr_scheduler": schedule}


def _lightning(of: Setting, batches: DataLoader[Any], precision: str) -> Callable[[], None]:
    device = device_at_hand()
    module = _Module(noise_learner(of, device, precision), noise_augment(of, device))
    warnings.filterwarnings("ignore", module="lightning")

    def epoch() -> None:
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision={"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}[precision],
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, batches)

    return epoch


if __name__ == "__main__":
    main()
