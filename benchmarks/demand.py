"""What a trial takes, as a sweep measures it before it starts: memory, seconds a clip, how busy the GPU is.

    python -m benchmarks.demand --arch resnet18 r3d_18                       # on a GPU: at their own clips
    python -m benchmarks.demand --arch resnet18 --frames 4 --size 64         # on a CPU

Each architecture is measured in a process of its own, on clips of noise. `memory` is the worker's own peak, `a loader`
what each loader process adds. Without Ray.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tabulate import tabulate

from benchmarks.training import CLASSES, Setting, device_at_hand, device_name, noise_clips, setting
from models.registry import ARCHITECTURES
from tuning.config.schema.store import StoreConfig
from tuning.config.schema.train import TrainConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.profile import TrialProfile, profile_trial
from tuning.training.trial_data import FoldClips, TrialData


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table, a row an architecture and batch size."""
    args = _parse(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for arch in args.arch:
            for batch in args.batch:
                of = setting(arch, batch, args.frames, args.size)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
                    found, seconds, name = own.submit(_measured, of, Path(folder), args.cpus, args.folds).result()
                rows.append(_row(of, found, seconds))
                print("; ".join(rows[-1]), flush=True)  # The table comes last, and a run may be cut short.
    print(f"\n{args.cpus} CPU(s), {args.folds} model(s) a trial, {name}\n")
    head = ["architecture", "batch", "clips at once", "memory", "a loader", "GPU memory", "GPU busy"]
    print(tabulate(rows, [*head, "ms a clip", "val", "measured in"], tablefmt="github", disable_numparse=True))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demand", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=["resnet18"], choices=list(ARCHITECTURES))
    parser.add_argument("--frames", type=int, help="default: the architecture's own")
    parser.add_argument("--size", type=int, help="default: the architecture's own")
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    parser.add_argument("--cpus", type=int, default=4 if device_at_hand().type == "cuda" else 1)
    parser.add_argument("--folds", type=int, default=1)
    return parser.parse_args(argv)


def _measured(of: Setting, folder: Path, cpus: int, folds: int, budget: float = 3.0) -> tuple[TrialProfile, float, str]:
    device = device_at_hand()
    store = StoreConfig(dir=str(folder), frames=of.frames, short_side=of.size)
    clips = tuple(noise_clips(store.open(), of))
    data = TrialData(
        classes=tuple(map(str, range(CLASSES))),
        split_sha256="",
        frame_store=store,
        decode=store.decode_settings(),
        folds=(FoldClips(train=clips, val=clips),) * folds,
    )
    trial = TrialConfig(
        arch=of.arch,
        options={},
        weights="none",
        sampler="imbalanced",
        loss="plain",
        lr=1e-6,
        num_frames=of.frames,
        selection="uniform",
        train=TrainConfig(batch_size=of.batch, size=of.size),
        metric="val_macro_f1",
    )
    started = time.monotonic()
    return profile_trial(trial, data, device, cpus, budget), time.monotonic() - started, device_name(device)


def _row(of: Setting, found: TrialProfile, seconds: float) -> list[str]:
    return [
        f"{of.arch}, {of.clip}",
        str(of.batch),
        str(found.micro_batch),
        _gigabytes(found.memory),
        _gigabytes(found.loader_memory),
        _gigabytes(found.gpu_memory),
        "–" if found.gpu_busy is None else f"{found.gpu_busy:.2f}",
        f"{found.train_seconds * 1000:.1f}",
        f"{found.val_seconds * 1000:.1f}",
        f"{seconds:.1f} s",
    ]


def _gigabytes(memory: int | None) -> str:
    return "–" if memory is None else f"{memory / 1e9:.2f} GB"


if __name__ == "__main__":
    main()
