"""A trial that trains the head of a frozen backbone: on stored features, and with the backbone in each epoch.

    python -m benchmarks.frozen

Both train the same head on the same clips of noise for the same epochs, from random weights in a file, and save a
checkpoint after each epoch, in one process with one thread; their rounds alternate. Times are CPU times of the whole
trial, from building the model on. Computing the features is shown apart: it happens once for all trials.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.noise_training import CLASSES, choose_workload, noise_clips
from benchmarks.helpers.tables import markdown_table, ratios, spread
from models.registry import build_model
from tuning.config.load import parse_config
from tuning.config.trial_config import TrialConfig
from tuning.training.checkpoint import Manifest, save_checkpoint
from tuning.training.epoch import predict, train_one_epoch
from tuning.training.features import FeatureSpec, compute_features
from tuning.training.fold import batch_transforms, build_fold, configure_torch, initial_model
from tuning.training.trial_data import FoldClips, TrialData

CPU = torch.device("cpu")


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=["resnet18", "efficientnet_lite0"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--views", type=int, default=8, help="augmented views of a clip")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    configure_torch(1)
    rows = []
    for arch in args.arch:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_row(arch, args, Path(folder)))
    header = ["backbone", "features, once", "trial on stored features", "trial on frames", "frames / stored features"]
    print(f"{args.frames} frames of {args.size}², {args.epochs} epochs, {args.views} views, {args.rounds} rounds\n")
    print(markdown_table(rows, header))


def _row(arch: str, args: Any, folder: Path) -> list[str]:
    stored, on_frames = (_trial(arch, args, folder, views) for views in (args.views, None))
    data = _noise_data(arch, args, folder)
    spec = FeatureSpec.of(stored)
    once = _cpu_seconds(lambda: list(compute_features(spec, data.store(), sorted(data.digests()), CPU)))
    seconds: dict[str, list[float]] = {"stored": [], "frames": []}
    for _ in range(args.rounds):
        for name, trial in (("stored", stored), ("frames", on_frames)):
            seconds[name].append(_cpu_seconds(lambda trial=trial: _run_trial(trial, data)))
    speed_up = ratios(seconds["frames"], seconds["stored"])
    times = [spread(seconds[name], unit="s") for name in ("stored", "frames")]
    return [arch, f"{once:.1f} s", *times, f"{spread(speed_up, '.0f')}, median {statistics.median(speed_up):.0f}"]


def _trial(arch: str, args: Any, folder: Path, views: int | None) -> TrialConfig:
    weights = folder / "weights.pt"
    if not weights.exists():
        torch.manual_seed(0)
        model = build_model(arch, {}, num_classes=CLASSES, num_frames=args.frames, size=args.size)
        torch.save(model.state_dict(), weights)
    train = {"epochs": args.epochs, "size": args.size, "trainable": "head", "stored_views": views, "precision": "fp32"}
    space = {"arch": [arch], "num_frames": [args.frames], "lr": [0.001], "sampler": ["imbalanced"]}
    sweep = parse_config(
        {
            "train": train,
            "space": space,
            "models": {arch: {"weights": str(weights)}},
            "store": {"dir": str(folder / "store"), "frames": args.frames, "short_side": args.size},
        }
    )
    choices = sweep.choices()
    assert choices is not None
    return TrialConfig.from_choice(sweep, choices[0])


def _noise_data(arch: str, args: Any, folder: Path) -> TrialData:
    store = {"dir": str(folder / "store"), "frames": args.frames, "short_side": args.size}
    config = parse_config({"store": store, "space": {"num_frames": [args.frames]}}).store
    clips = tuple(noise_clips(config.open(), choose_workload(arch, 16, args.frames, args.size)))
    return TrialData(
        classes=tuple(map(str, range(CLASSES))),
        split_sha256="",
        frame_store=config,
        decode=config.decode_settings(),
        folds=(FoldClips(train=clips[:48], val=clips[48:]),),
    )


def _run_trial(trial: TrialConfig, data: TrialData) -> None:
    """Train as a trial's worker does, without Ray."""
    model = initial_model(trial, data, 0)
    fold = build_fold(trial, data, 0, model, device=CPU, precision="fp32", loader_workers=0)
    normalise, augment = batch_transforms(trial, len(data.classes), CPU)
    for epoch in range(1, trial.train.epochs + 1):
        fold.sampler.set_epoch(epoch)
        train_one_epoch(fold.learner, augment, fold.train_batches, epoch=epoch, seed=epoch, micro_batch=16)
        found = predict(fold.learner.eval_model, normalise, fold.val_batches, device=CPU, precision="fp32")
        manifest = Manifest(
            trial=trial,
            classes=data.classes,
            split_sha256="",
            decode=data.decode,
            folds=1,
            precision="fp32",
            history=({},) * epoch,
        )
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), manifest, [fold.checkpoint_model()], [fold.learner.state()], found)


def _cpu_seconds(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


if __name__ == "__main__":
    main()
