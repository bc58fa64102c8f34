"""One epoch of training with this project's loop and with PyTorch Lightning's.

    python -m benchmarks.epoch_loop --arch resnet18 --frames 8 --size 64

Both train the same model with the same optimizer, schedule, precision and gradient clipping, on the same batches from
the same frame store, on one CPU thread or one GPU; their rounds alternate. Lightning runs without progress bar, logger
and checkpoints; its time includes a new trainer for each epoch, which it needs here. `--batch 1 --size 32`
shows the overhead of the loop itself. Lightning is not in the requirements:

    pip install lightning==2.6.6
"""

from __future__ import annotations

import os
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

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
)
from benchmarks.helpers.tables import markdown_table, ratios, spread
from data.loading.augment import Augment
from data.loading.loaders import Batch
from tuning.training.epoch import train_one_epoch
from tuning.training.learner import Learner
from tuning.training.precision import choose_precision

Epoch = Callable[[], None]
"""Trains for one epoch."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per loop."""
    parser = argument_parser(__doc__)
    parser.add_argument("--arch", default="resnet18")
    add_clip_arguments(parser)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=30, help="per epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    device = default_device()
    precision = choose_precision("auto", device)
    workload = choose_workload(args.arch, args.batch, args.frames, args.size)
    with tempfile.TemporaryDirectory() as folder:
        batches = noise_batches(workload, Path(folder), steps=args.steps, workers=args.workers, device=device)
        loops = {
            "this project": _our_epoch(workload, batches, device, precision),
            "Lightning": _lightning_epoch(workload, batches, device, precision),
        }
        seconds = _measure(loops, device, args.rounds)
    print(f"{args.arch}, {workload.clip}, {args.steps} steps of {args.batch}, {precision}, {device_name(device)}")
    print(f"lightning {version('lightning')}, torch {torch.__version__}, {os.cpu_count()} CPUs\n")
    print(_table(seconds, args.steps))


def _measure(loops: dict[str, Epoch], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each loop, one value per round; a round before them allocates memory, selects kernels."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name, epoch in loops.items():
            clock = Clock(device)
            clock.start()
            epoch()
            clock.stop()
            if number:
                seconds[name].append(clock.seconds)
    return seconds


def _table(seconds: dict[str, list[float]], steps: int) -> str:
    ours = seconds["this project"]
    rows = [
        [name, f"{1000 * statistics.median(times) / steps:.1f} ms", spread(ratios(times, ours), ".3f")]
        for name, times in seconds.items()
    ]
    return markdown_table(rows, ["loop", "per step", "/ this project"])


def _our_epoch(workload: Workload, batches: DataLoader[Any], device: torch.device, precision: str) -> Epoch:
    learner, augment = noise_learner(workload, device, precision), noise_augment(workload, device)

    def epoch() -> None:
        train_one_epoch(learner, augment, batches, epoch=1, seed=0, micro_batch=workload.batch)

    return epoch


def _lightning_epoch(workload: Workload, batches: DataLoader[Any], device: torch.device, precision: str) -> Epoch:
    import lightning

    module = _lightning_module(noise_learner(workload, device, precision), noise_augment(workload, device))
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


def _lightning_module(learner: Learner, augment: Augment) -> Any:
    """Return the learner's model, loss, optimizer and schedule as a `LightningModule`."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.normalise = learner.model, augment.normalise

        def training_step(self, batch: Batch, _: int) -> torch.Tensor:
            return F.cross_entropy(self.model(self.normalise(batch.frames)), batch.label)

        def configure_optimizers(self) -> Any:
            schedule = {"scheduler": learner.schedule, "interval": "step"}
            return {"optimizer": learner.optimizer, "lr_scheduler": schedule}

    return Module()


if __name__ == "__main__":
    main()
