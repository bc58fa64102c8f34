"""Compare the disk space that a sweep needs with what is free, before anything is decoded or trained."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data.store.estimate import estimate_stored_bytes
from models.registry import build_model
from tuning.config.schema.train import TrainConfig
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.prepare.clips import ScannedData
from tuning.prepare.outputs import nearest_folder
from tuning.text import count_noun, format_bytes
from tuning.training.heaviest import heaviest_trials

_KEPT_CHECKPOINTS = 3
"""Checkpoints that a trial leaves: the best two and the latest."""
_CHAMPION_COPIES = 4
"""Copies of its weights, at most: in the run folder, and in MLflow as a checkpoint and as an exported graph."""
_BYTES_PER_VALUE = 4


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """Bytes that a sweep is going to write into a folder, as estimated."""

    what: str
    setting: str
    """Setting or environment variable that chooses the folder."""
    folder: Path
    """Need not exist yet."""
    least: int
    most: int


def disk_needs(scanned: ScannedData, config: SweepConfig, max_concurrent: int) -> list[DiskNeed]:
    """Estimate what a sweep writes: frames that the store lacks, and checkpoints.

    Args:
        scanned: the clips.
        config: the settings.
        max_concurrent: trials that run concurrently on this machine, each of which writes a checkpoint to a temporary
            folder first.
    """
    weights = _weight_bytes(config, scanned)
    sizes = _checkpoint_sizes(config, weights)
    kept = min(_KEPT_CHECKPOINTS, config.train.epochs)
    runs_dir = Path(config.runs_dir)
    checkpoints = f"checkpoints of {count_noun(len(sizes), 'trial')}"
    being_written = [max(sizes)] * min(max_concurrent, len(sizes))
    temporary = Path(tempfile.gettempdir())
    return [
        *_frame_needs(scanned, config),
        DiskNeed(checkpoints, "runs_dir", runs_dir, sum(sizes) // 2, kept * sum(sizes)),
        DiskNeed("the champion", "runs_dir", runs_dir, 0, _CHAMPION_COPIES * max(weights.values())),
        DiskNeed("checkpoints being written", "TMPDIR", temporary, sum(being_written[:1]) // 2, sum(being_written)),
    ]


def _frame_needs(scanned: ScannedData, config: SweepConfig) -> list[DiskNeed]:
    store = config.store.open()
    missing = store.find_missing(scanned.root, [clip.path for clip in scanned.clips])
    frames = estimate_stored_bytes([scanned.root / path for path in missing], store.settings)
    what = f"frames of {count_noun(len(missing), 'clip')}"
    root = [] if config.store.in_bucket else [DiskNeed(what, "store.dir", Path(config.store.dir), frames // 2, frames)]
    if config.store.local is None:
        return root
    # Each node copies only what it reads.
    return [*root, DiskNeed(f"copies of the {what}", "store.local", Path(config.store.local), 0, frames)]


def _weight_bytes(config: SweepConfig, scanned: ScannedData) -> dict[str, int]:
    """Return for each architecture the bytes of the weights of all folds of its largest trial."""
    folds = max(1, scanned.split.folds if scanned.split is not None else config.data.folds)
    found = {}
    for trial in heaviest_trials(config):
        sizes = {"num_frames": trial.num_frames, "size": trial.train.size}
        with torch.device("meta"):
            model = build_model(trial.arch, trial.options, num_classes=scanned.num_classes, **sizes)
        found[trial.arch] = folds * _BYTES_PER_VALUE * sum(parameter.numel() for parameter in model.parameters())
    return found


def _checkpoint_sizes(config: SweepConfig, weights: Mapping[str, int]) -> list[int]:
    """Return the bytes of one checkpoint of each trial, from those of the weights of its architecture."""
    by_arch = {trial.arch: _copies(trial.train) * weights[trial.arch] for trial in heaviest_trials(config)}
    if config.search.trials is None:
        archs = [choice["arch"] for choice in config.choices() or ()]
    else:
        archs = list(itertools.islice(itertools.cycle(config.space.arch), config.search.trials))
    finals = config.search.finalists
    repeated = min(finals.top, len(archs)) * finals.seeds if finals is not None else 0
    return [*(by_arch[arch] for arch in archs), *[max(by_arch.values())] * repeated]


def _copies(train: TrainConfig) -> int:
    """Return how many values a checkpoint has for each weight."""
    trains_all = train.trainable == "all" or train.unfreeze_every is not None
    # AdamW keeps two moments of each value that it trains; with an average the trained weights are saved besides it.
    return 1 + (2 if trains_all else 0) + (train.ema is not None)


def check_disk_space(needs: Sequence[DiskNeed]) -> list[str]:
    """Check that each disk has space for what is written to it.

    Returns:
        One line on each disk: what is free and what is needed; begins with `warning:` if it may not be enough.

    Raises:
        ConfigError: a disk has plainly too little.
    """
    by_disk: dict[int, list[DiskNeed]] = {}
    for need in [need for need in needs if need.most]:
        by_disk.setdefault(os.stat(nearest_folder(need.folder)).st_dev, []).append(need)
    return [_check_disk(own) for own in by_disk.values()]


def _check_disk(needs: Sequence[DiskNeed]) -> str:
    folder = nearest_folder(needs[0].folder)
    free = shutil.disk_usage(folder).free
    least, most = sum(need.least for need in needs), sum(need.most for need in needs)
    settings = " or ".join(dict.fromkeys(need.setting for need in needs))
    parts = ", ".join(f"{format_bytes(need.most)} for {need.what}" for need in needs)
    if least > free:
        raise ConfigError(
            f"too little disk space at {str(folder)!r}: {format_bytes(free)} are free, and at least "
            f"{format_bytes(least)} are needed (at most {parts}): free space, or set {settings} to another disk"
        )
    line = f"{format_bytes(free)} free at {folder}, at most {format_bytes(most)} needed ({parts})"
    if most > free:
        return f"warning: disk space may run out: {line}; free space, or set {settings} to another disk"
    return f"disk: {line}"
