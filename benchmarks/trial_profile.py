"""Profile trials as a sweep does before it starts: memory, seconds per clip, and how busy the GPU is.

    python -m benchmarks.trial_profile --arch resnet18 r3d_18                # on a GPU, with each architecture's clips
    python -m benchmarks.trial_profile --arch resnet18 --frames 4 --size 64  # on a CPU

Each profile runs in a process of its own, on clips of noise, without Ray. `memory` is the worker's peak; `per loader`
is what each loader process adds to it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.helpers.command_line import add_clip_arguments, argument_parser
from benchmarks.helpers.noise_training import (
    CLASSES,
    Workload,
    choose_workload,
    default_device,
    device_name,
    noise_clips,
)
from benchmarks.helpers.tables import markdown_table
from models.registry import ARCHITECTURES
from tuning.config.schema.store import StoreConfig
from tuning.config.schema.train import TrainConfig
from tuning.config.trial_config import TrialConfig
from tuning.training.profile import TrialProfile, profile_trial
from tuning.training.trial_data import FoldClips, TrialData

_PROFILE_SECONDS = 3.0
"""Time for the training steps of one profile; on a GPU a fixed number of steps is run instead."""
_HEADER = [
    *("architecture", "batch", "micro-batch", "memory", "per loader", "GPU memory", "GPU busy"),
    *("ms per training clip", "ms per validation clip", "profiled in"),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per architecture and batch size."""
    args = _parse(argv)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for arch in args.arch:
            for batch in args.batch:
                workload = choose_workload(arch, batch, args.frames, args.size)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    job = process.submit(_profile, workload, Path(folder), args.cpus, args.folds)
                    profile, seconds, device = job.result()
                rows.append(_row(workload, profile, seconds))
                # The table comes last, and the run may be interrupted before.
                print("; ".join(rows[-1]), flush=True)
    print(f"\n{args.cpus} CPU(s), {args.folds} model(s) per trial, {device}\n")
    print(markdown_table(rows, _HEADER))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=["resnet18"], choices=list(ARCHITECTURES))
    add_clip_arguments(parser)
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    parser.add_argument("--cpus", type=int, default=4 if default_device().type == "cuda" else 1, help="of the worker")
    parser.add_argument("--folds", type=int, default=1, help="models that a trial trains")
    return parser.parse_args(argv)


def _profile(workload: Workload, folder: Path, cpus: int, folds: int) -> tuple[TrialProfile, float, str]:
    """Return the profile, the seconds that it took, and the device's name."""
    device = default_device()
    store = StoreConfig(dir=str(folder), frames=workload.frames, short_side=workload.size)
    clips = tuple(noise_clips(store.open(), workload))
    data = TrialData(
        classes=tuple(map(str, range(CLASSES))),
        split_sha256="",
        frame_store=store,
        decode=store.decode_settings(),
        folds=(FoldClips(train=clips, val=clips),) * folds,
    )
    trial = TrialConfig(
        arch=workload.arch,
        options={},
        weights="none",
        sampler="imbalanced",
        loss="plain",
        lr=1e-6,
        num_frames=workload.frames,
        selection="uniform",
        train=TrainConfig(batch_size=workload.batch, size=workload.size),
        metric="val_macro_f1",
    )
    started = time.monotonic()
    profile = profile_trial(trial, data, device, cpus, _PROFILE_SECONDS)
    return profile, time.monotonic() - started, device_name(device)


def _row(workload: Workload, profile: TrialProfile, seconds: float) -> list[str]:
    return [
        f"{workload.arch}, {workload.clip}",
        str(workload.batch),
        str(profile.micro_batch),
        _gigabytes(profile.memory),
        _gigabytes(profile.loader_memory),
        _gigabytes(profile.gpu_memory),
        "–" if profile.gpu_busy is None else f"{profile.gpu_busy:.2f}",
        f"{profile.train_seconds * 1000:.1f}",
        f"{profile.val_seconds * 1000:.1f}",
        f"{seconds:.1f} s",
    ]


def _gigabytes(memory: int | None) -> str:
    return "–" if memory is None else f"{memory / 1e9:.2f} GB"


if __name__ == "__main__":
    main()
