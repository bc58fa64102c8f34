"""Disk, network and hours of a sweep over a data set of the size of Kinetics, calculated from measured rates.

    python -m benchmarks.kinetics
    python -m benchmarks.kinetics --clips 650000 --gpus 64 --epochs 10

Measured here, for clips of ten seconds with a short side of 256 (as Kinetics is distributed) and of 720: the CPU time
to decode a clip into the frame store with a sweep's default settings (32 frames, short side 128); the bytes of a file
and of a store entry; the CPU time of a clip from the store to a batch. Decoding is the difference between two builds of
different size, so that the start of a build does not count. Not measured here but given as options: the time of a
training clip on a GPU, and the gain when trials share a GPU; the defaults are those of an H200
(`benchmarks/README.md`). The rest is arithmetic, which is printed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.large_clips import LargeClipFormat, write_large_clips
from benchmarks.helpers.store_epochs import FRAMES, store_epochs
from benchmarks.helpers.tables import markdown_table, spread
from data.clip import Clip
from data.dataset.clips import scan_clips
from data.store.build_report import BuildReport
from data.store.frame_store import FrameStore
from tuning.config.schema.store import StoreConfig

SECONDS = 10.0
SHORT_SIDES = (256, 720)
SMALL_BUILD_CLIPS = 2
BATCH = 16
EPOCHS_FROM_STORE = 5
GB = 1e9


@dataclass(frozen=True)
class ClipRates:
    """Measurements of clips of one size."""

    decode: list[float]
    """CPU seconds per clip, one value per round."""
    load: list[float]
    """CPU seconds per clip from the store to a batch, one value per round."""
    file_bytes: float
    """Mean per clip."""
    entry_bytes: float
    """Mean per clip in the store."""


@dataclass(frozen=True)
class LargeSweep:
    """The sweep to calculate; see the options of the same names."""

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
        """Number of machines."""
        return -(-self.gpus // self.gpus_a_node)

    @property
    def mean_asha_epochs(self) -> float:
        """Mean epochs of a trial if exactly one in `reduction` trials survives each rung.

        ASHA does not wait for all trials of a rung, so in practice a few more survive.
        """
        rung, share, mean, previous_rung = self.grace, 1.0, 0.0, 0
        while rung < self.epochs:
            mean += share * (rung - previous_rung)
            previous_rung, rung, share = rung, rung * self.reduction, share / self.reduction
        return mean + share * (self.epochs - previous_rung)

    @property
    def clips_per_second(self) -> float:
        """Training clips per second of one GPU."""
        return self.gain / self.gpu_ms * 1000


def main(argv: Sequence[str] | None = None) -> None:
    """Print two Markdown tables: the measured rates and the calculation."""
    parser = argument_parser(__doc__)
    parser.add_argument("--clips", type=int, default=240_000)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--gpus", type=int, default=32)
    parser.add_argument("--gpus-a-node", type=int, default=8)
    parser.add_argument("--cpus-a-gpu", type=int, default=16)
    parser.add_argument("--gigabits", type=float, default=25.0, help="per second, of a node's network")
    parser.add_argument("--gpu-ms", type=float, default=2.35, help="per training clip: 2.1 for ResNet18, 2.6 for C3D")
    parser.add_argument(
        "--gain", type=float, default=2.08, help="clips per second of a shared GPU / of one trial alone"
    )
    parser.add_argument("--val", type=float, default=0.15, help="share of clips in val; the test has the same")
    parser.add_argument("--grace", type=int, default=4, help="epochs of a trial before ASHA may stop it")
    parser.add_argument("--reduction", type=int, default=3, help="one in this many trials survives a rung of ASHA")
    parser.add_argument("--built", type=int, default=10, help="clips to decode for the measurement")
    parser.add_argument("--rounds", type=int, default=5)
    args = vars(parser.parse_args(argv))
    count, rounds = args.pop("built"), args.pop("rounds")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rates = {side: _measure(Path(folder, str(side)), side, count, rounds) for side in SHORT_SIDES}
    print(f"{count} clips, {rounds} round(s), {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print(_rates_table(rates))
    print(f"\n{_calculation_table(LargeSweep(**args), rates)}")


def _measure(folder: Path, short_side: int, count: int, rounds: int) -> ClipRates:
    root = folder / "clips"
    write_large_clips(root, count, LargeClipFormat(SECONDS, short_side=short_side))
    clips = scan_clips(root).clips
    decode, load, entry_bytes = [], [], 0.0
    for number in range(rounds):
        small, *_ = _build(folder / f"small-{number}", root, clips[:SMALL_BUILD_CLIPS])
        large, store, report = _build(folder / f"large-{number}", root, clips)
        decode.append((large - small) / (len(clips) - SMALL_BUILD_CLIPS))
        load.append(_loading_seconds(store, report, clips))
        entry_bytes = sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file()) / len(clips)
    file_bytes = statistics.mean((root / clip.path).stat().st_size for clip in clips)
    return ClipRates(decode, load, file_bytes, entry_bytes)


def _build(folder: Path, root: Path, clips: Sequence[Clip]) -> tuple[float, FrameStore, BuildReport]:
    """Build a store in one process; its seconds are CPU seconds if the machine is otherwise idle."""
    store = FrameStore(folder, StoreConfig().decode_settings())
    started = time.perf_counter()
    report = store.build(root, [clip.path for clip in clips], workers=1, progress=False)
    seconds = time.perf_counter() - started
    assert report.decoded == len(clips), report.failed
    return seconds, store, report


def _loading_seconds(store: FrameStore, report: BuildReport, clips: Sequence[Clip]) -> float:
    """Return the CPU seconds per clip from the store to a batch."""
    stored = report.labelled(clips, sorted({clip.label for clip in clips}))
    epoch = store_epochs(stored, store, BATCH)
    started, loaded = time.process_time(), 0
    for _ in range(EPOCHS_FROM_STORE):
        loaded += sum(len(frames) for frames in epoch())
    return (time.process_time() - started) / loaded


def _rates_table(rates: dict[int, ClipRates]) -> str:
    rows = [
        [
            f"{side}",
            f"{each.file_bytes / 1e6:.2f} MB",
            f"{spread([1000 * s for s in each.decode], '.0f')} ms",
            f"{each.entry_bytes / 1e6:.2f} MB",
            f"{spread([1000 * s for s in each.load])} ms",
        ]
        for side, each in rates.items()
    ]
    header = ["short side", "a file", "decoding it, CPU time", "its entry", "from the store to a batch, CPU time"]
    return markdown_table(rows, header)


def _calculation_table(sweep: LargeSweep, rates: dict[int, ClipRates]) -> str:
    kinetics = rates[SHORT_SIDES[0]]
    rows = [row for side, each in rates.items() for row in _decoding_rows(sweep, side, each)]
    rows += [*_store_rows(sweep, kinetics), *_training_rows(sweep), *_feeding_rows(sweep, kinetics)]
    return markdown_table(rows, ["what", "calculation", "result"])


def _decoding_rows(sweep: LargeSweep, short_side: int, rates: ClipRates) -> list[list[str]]:
    cpus = sweep.gpus * sweep.cpus_a_gpu
    gigabytes, seconds = sweep.clips * rates.file_bytes / GB, statistics.median(rates.decode)
    minutes = sweep.clips * seconds / cpus / 60
    return [
        [
            f"files, short side {short_side}",
            f"{sweep.clips:,} × {rates.file_bytes / 1e6:.2f} MB",
            f"{gigabytes:,.0f} GB",
        ],
        [
            f"decoding, short side {short_side}",
            f"{sweep.clips:,} × {seconds:.3f} s / {cpus} CPUs",
            f"{minutes:.0f} min, once",
        ],
    ]


def _store_rows(sweep: LargeSweep, rates: ClipRates) -> list[list[str]]:
    gigabytes = sweep.clips * rates.entry_bytes / GB
    minutes = gigabytes * 8 / sweep.gigabits / 60
    return [
        [
            "frame store",
            f"{sweep.clips:,} × {rates.entry_bytes / 1e6:.2f} MB",
            f"{gigabytes:,.0f} GB per node, {sweep.nodes} nodes",
        ],
        ["network", f"{gigabytes:,.0f} GB to each node at {sweep.gigabits:g} Gbit/s", f"{minutes:.0f} min"],
    ]


def _training_rows(sweep: LargeSweep) -> list[list[str]]:
    train = sweep.clips * (1 - 2 * sweep.val)
    # A forward pass alone takes about a third of a training step.
    clips = train + sweep.clips * sweep.val / 3
    hours = sweep.trials * sweep.epochs * clips * sweep.gpu_ms / 1000 / sweep.gain / sweep.gpus / 3600
    mean = sweep.mean_asha_epochs
    return [
        [
            "GPUs, every trial trained to the end",
            f"{sweep.trials} trials × {sweep.epochs} epochs × {clips:,.0f} clips × {sweep.gpu_ms:g} ms / {sweep.gain:g}"
            f" / {sweep.gpus} GPUs",
            f"{hours:.1f} h",
        ],
        [
            "GPUs, ASHA at its best",
            f"a trial trains {mean:.1f} of {sweep.epochs} epochs on average (grace {sweep.grace}, "
            f"1 of {sweep.reduction})",
            f"{hours * mean / sweep.epochs:.1f} h",
        ],
    ]


def _feeding_rows(sweep: LargeSweep, rates: ClipRates) -> list[list[str]]:
    clips = sweep.clips_per_second
    load, decode = statistics.median(rates.load), statistics.median(rates.decode)
    stored_frames = StoreConfig().frames
    bytes_per_second = clips * sweep.gpus_a_node * rates.entry_bytes * FRAMES / stored_frames
    return [
        [
            "CPUs that feed a GPU",
            f"{clips:.0f} clips/s × {1000 * load:.2f} ms",
            f"{clips * load:.1f} of {sweep.cpus_a_gpu}",
        ],
        [
            "CPUs that feed a GPU by decoding",
            f"{clips:.0f} clips/s × {decode:.3f} s",
            f"{clips * decode:.0f} of {sweep.cpus_a_gpu}",
        ],
        [
            "reading on a node",
            f"{clips:.0f} clips/s × {sweep.gpus_a_node} GPUs × {FRAMES} of {stored_frames} frames",
            f"{bytes_per_second / GB:.1f} GB/s",
        ],
    ]


if __name__ == "__main__":
    main()
