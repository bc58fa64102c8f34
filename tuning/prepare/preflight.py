"""Check the limits of this machine, before anything is decoded or trained."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

from data.loading.loaders import BATCHES_AHEAD
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.text import format_bytes
from tuning.training.fold import num_loader_workers
from tuning.training.heaviest import heaviest_trials
from tuning.trial.spec import Slot

_SHARED_MEMORY = Path("/dev/shm")
_FILES_OF_RAY, _FILES_PER_PROCESS = 100, 4
"""Files that a process of Ray has open; measured with Ray 2.60: 58 without workers, and 3 for each worker."""
_RAISED_BY_RAY = 65536
"""Ray raises the limit of open files to this, or to the hard limit."""


def machine_warnings(config: SweepConfig, slot: Slot, max_concurrent: int) -> list[str]:
    """Check the limits of this machine against what its trials need; return a line on each that may be too low.

    Args:
        config: the settings.
        slot: resources of one trial.
        max_concurrent: trials that run concurrently.

    Raises:
        ConfigError: a limit is too low for a single trial.
    """
    return [*_check_shared_memory(config, slot, max_concurrent), *_check_open_files(slot, max_concurrent)]


def _check_shared_memory(config: SweepConfig, slot: Slot, max_concurrent: int) -> Iterator[str]:
    needed = slot.workers * _prefetched_bytes(config, slot)
    if not needed or not _SHARED_MEMORY.is_dir():
        return
    status = os.statvfs(_SHARED_MEMORY)
    free = status.f_bavail * status.f_frsize
    remedy = "enlarge it (docker run --shm-size=8g), or set train.loader_workers=0 or a smaller train.batch_size"
    if needed > free:
        raise ConfigError(
            f"{_SHARED_MEMORY} has {format_bytes(free)} free, but the loader processes of a trial pass batches of "
            f"{format_bytes(needed)} through it: {remedy}"
        )
    if needed * max_concurrent > free:
        yield (
            f"{_SHARED_MEMORY} has {format_bytes(free)} free, but the loader processes of {max_concurrent} trials pass "
            f"batches of up to {format_bytes(needed * max_concurrent)} through it: {remedy}"
        )


def _prefetched_bytes(config: SweepConfig, slot: Slot) -> int:
    """Return the bytes of the batches that the loader processes of one worker prepare in advance."""
    device = torch.device("cuda" if slot.gpus else "cpu")
    return max(
        num_loader_workers(trial.train, device, int(slot.cpus))
        * BATCHES_AHEAD
        * (trial.train.batch_size * trial.num_frames * 3 * trial.train.size**2)
        for trial in heaviest_trials(config)
    )


def _check_open_files(slot: Slot, max_concurrent: int) -> Iterator[str]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(soft, min(hard if hard != resource.RLIM_INFINITY else _RAISED_BY_RAY, _RAISED_BY_RAY))
    processes = max_concurrent * (1 + slot.workers)
    needed = _FILES_OF_RAY + _FILES_PER_PROCESS * processes
    if needed > limit:
        yield (
            f"a process may open {limit} files, and about {needed} are needed for {max_concurrent} concurrent trials: "
            "raise the limit (ulimit -n 8192), or lower resources.max_concurrent"
        )
