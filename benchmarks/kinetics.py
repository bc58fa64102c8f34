"""What a sweep over a data set of Kinetics's size would need in disk, network and hours, reckoned from measured rates.

    python -m benchmarks.kinetics
    python -m benchmarks.kinetics --clips 650000 --gpus 64 --epochs 10

Measured here: the CPU seconds that a clip of ten seconds takes to enter the frame store at the sweep's own settings
(32 frames, short side 128), as Kinetics is passed around (short side 256) and of 720p; the bytes of a file and of an
entry; the CPU time of a clip from the store to a batch. From two builds of different size, so that the start of a build
is left out. Not measured here, but given: what a GPU takes for a training clip and how much is gained by trials that
share it; the defaults are of an H200 (`benchmarks/README.md`). The rest is arithmetic, which is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate

from benchmarks.large_clips import Kind, write_large_clips
from benchmarks.loaders import FRAMES, from_store
from benchmarks.spread import spread
from data.clip import Clip
from data.dataset.clips import scan_clips
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from tuning.config.schema.store import StoreConfig

SECONDS = 10.0
SHORT_SIDES = (256, 720)
FEW = 2
"""Clips of the smaller build."""
BATCH = 16
"""Of a trial; its frames and their size are those of `benchmarks.loaders`."""
EPOCHS_FROM_STORE = 5
GB = 1e9


@dataclass(frozen=True)
class Rates:
    """What was measured of clips of one size, round by round."""

    decode: list[float]
    """CPU seconds a clip."""
    load: list[float]
    """CPU seconds a clip from the store to a batch."""
    file: float
    """Bytes of a file, the mean."""
    entry: float
    """Bytes of a clip in the store."""


@dataclass(frozen=True)
class Plan:
    """The sweep that is reckoned."""

    clips: int
    trials: int
    epochs: int
    gpus: int
    gpus_a_node: int
    cpus_a_gpu: int
    gigabits: float
    gpu_ms: float
    gain: float
    val: float
    grace: int
    reduction: int

    @property
    def nodes(self) -> int:
        """Machines."""
        return -(-self.gpus // self.gpus_a_node)


def main(argv: Sequence[str] | None = None) -> None:
    """Print two Markdown tables: the rates, the arithmetic."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=240_000)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--gpus", type=int, default=32)
    parser.add_argument("--gpus-a-node", type=int, default=8)
    parser.add_argument("--cpus-a-gpu", type=int, default=16)
    parser.add_argument("--gigabits", type=float, default=25.0, help="a second, of a node's network")
    parser.add_argument("--gpu-ms", type=float, default=2.35, help="of a training clip: of ResNet18 2.1, of C3D 2.6")
    parser.add_argument("--gain", type=float, default=2.08, help="times the clips a second, by trials sharing a GPU")
    parser.add_argument("--val", type=float, default=0.15, help="share of the clips, of the test as well")
    parser.add_argument("--grace", type=int, default=4, help="epochs of each trial before ASHA may stop it")
    parser.add_argument("--reduction", type=int, default=3, help="one of so many goes on")
    parser.add_argument("--built", type=int, default=10, help="clips that are decoded here to know the rate")
    parser.add_argument("--rounds", type=int, default=5)
    args = vars(parser.parse_args(argv))
    built, rounds = args.pop("built"), args.pop("rounds")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {side: _rates(Path(folder, str(side)), side, built, rounds) for side in SHORT_SIDES}
    print(
        f"{built} clips, {rounds} round(s), {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n\n{_measured(found)}"
    )
    print(f"\n{_reckoned(Plan(**args), found)}")


def _rates(place: Path, short_side: int, built: int, rounds: int) -> Rates:
    root = place / "clips"
    write_large_clips(root, built, Kind(SECONDS, short_side=short_side))
    clips = scan_clips(root).clips
    decode, load, entry = [], [], 0.0
    for number in range(rounds):
        small, *_ = _build(place / f"few-{number}", root, clips[:FEW])
        large, store, report = _build(place / f"all-{number}", root, clips)
        decode.append((large - small) / (len(clips) - FEW))
        load.append(_load(store, report, clips))
        entry = sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file()) / len(clips)
    return Rates(decode, load, statistics.mean((root / clip.path).stat().st_size for clip in clips), entry)


def _build(folder: Path, root: Path, clips: Sequence[Clip]) -> tuple[float, FrameStore, BuildReport]:
    """Seconds by one process, which are CPU seconds where nothing else runs."""
    store = FrameStore(folder, StoreConfig().decode_settings())
    began = time.perf_counter()
    report = store.build(root, [clip.path for clip in clips], workers=1, progress=False)
    seconds = time.perf_counter() - began
    assert report.decoded == len(clips), report.failed
    return seconds, store, report


def _load(store: FrameStore, report: BuildReport, clips: Sequence[Clip]) -> float:
    stored = report.labelled(clips, sorted({clip.label for clip in clips}))
    epoch = from_store(stored, store, BATCH)
    began, seen = time.process_time(), 0
    for _ in range(EPOCHS_FROM_STORE):
        seen += sum(len(frames) for frames in epoch())
    return (time.process_time() - began) / seen


def _measured(found: dict[int, Rates]) -> str:
    rows = [
        [
            f"{side}",
            f"{rates.file / 1e6:.2f} MB",
            f"{spread([1000 * s for s in rates.decode], '.0f')} ms",
            f"{rates.entry / 1e6:.2f} MB",
            f"{spread([1000 * s for s in rates.load], '.2f')} ms",
        ]
        for side, rates in found.items()
    ]
    head = ["short side", "a file", "decoding it, CPU time", "its entry", "from the store to a batch, CPU time"]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def _reckoned(plan: Plan, found: dict[int, Rates]) -> str:
    rows = [*_store_rows(plan, found), *_training_rows(plan), *_feeding_rows(plan, found)]
    return tabulate(rows, ["what", "reckoned", "needs"], tablefmt="github", disable_numparse=True)


def _store_rows(plan: Plan, found: dict[int, Rates]) -> list[list[str]]:
    cpus = plan.gpus * plan.cpus_a_gpu
    entry = found[SHORT_SIDES[0]].entry
    store = plan.clips * entry
    rows = []
    for side, rates in found.items():
        files, seconds = plan.clips * rates.file, statistics.median(rates.decode)
        hours = plan.clips * seconds / cpus / 3600
        name = f"short side {side}"
        rows.append([f"files, {name}", f"{plan.clips:,} × {rates.file / 1e6:.2f} MB", f"{files / GB:,.0f} GB"])
        how = f"{plan.clips:,} × {seconds:.3f} s / {cpus} CPUs"
        rows.append([f"decoding, {name}", how, f"{hours * 60:.0f} min, once"])
    copying = store * 8 / (plan.gigabits * 1e9) / 60
    return [
        *rows,
        [
            "frame store",
            f"{plan.clips:,} × {entry / 1e6:.2f} MB",
            f"{store / GB:,.0f} GB on each of {plan.nodes} nodes",
        ],
        ["network", f"{store / GB:,.0f} GB to each node at {plan.gigabits:g} Gbit/s", f"{copying:.0f} min"],
    ]


def _training_rows(plan: Plan) -> list[list[str]]:
    train = plan.clips * (1 - 2 * plan.val)
    # A forward pass without a backward one is about a third.
    seen = train + plan.clips * plan.val / 3
    hours = plan.trials * plan.epochs * seen * plan.gpu_ms / 1000 / plan.gain / plan.gpus / 3600
    mean = _mean_epochs(plan)
    return [
        [
            "GPUs, all trials to the end",
            f"{plan.trials} trials × {plan.epochs} epochs × {seen:,.0f} clips × {plan.gpu_ms:g} ms / {plan.gain:g}"
            f" / {plan.gpus} GPUs",
            f"{hours:.1f} h",
        ],
        [
            "GPUs, ASHA at its best",
            f"of {plan.epochs} epochs a trial has {mean:.1f} in the mean (grace {plan.grace}, 1 of {plan.reduction})",
            f"{hours * mean / plan.epochs:.1f} h",
        ],
    ]


def _mean_epochs(plan: Plan) -> float:
    """If of each rung exactly one of so many went on; ASHA, which does not wait, lets some more."""
    rung, share, mean, before = plan.grace, 1.0, 0.0, 0
    while rung < plan.epochs:
        mean += share * (rung - before)
        before, rung, share = rung, rung * plan.reduction, share / plan.reduction
    return mean + share * (plan.epochs - before)


def _feeding_rows(plan: Plan, found: dict[int, Rates]) -> list[list[str]]:
    rates = found[SHORT_SIDES[0]]
    clips = plan.gain / plan.gpu_ms * 1000
    load = statistics.median(rates.load)
    read = clips * plan.gpus_a_node * rates.entry * FRAMES / StoreConfig().frames
    decode = statistics.median(rates.decode)
    return [
        [
            "CPUs that feed a GPU",
            f"{clips:.0f} clips/s × {1000 * load:.2f} ms",
            f"{clips * load:.1f} of {plan.cpus_a_gpu}",
        ],
        [
            "the same, decoding each time",
            f"{clips:.0f} clips/s × {decode:.3f} s",
            f"{clips * decode:.0f} of {plan.cpus_a_gpu}",
        ],
        [
            "reading on a node",
            f"{clips:.0f} clips/s × {plan.gpus_a_node} GPUs × {FRAMES} of {StoreConfig().frames} frames",
            f"{read / GB:.1f} GB/s",
        ],
    ]


if __name__ == "__main__":
    main()
