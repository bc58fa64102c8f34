"""Estimate how long a sweep takes at most, from the profile of its trials."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence

from tuning.cluster.profile_task import SweepProfile
from tuning.config.sweep_config import SweepConfig
from tuning.training.trial_data import TrialData
from tuning.trial.spec import Slot

_PROCESSES_PER_TRIAL = 2
"""Driver and worker, which the first trial of each slot starts one after the other, with the imports of each."""
_EPOCH_OVERHEAD_SECONDS = 0.5
"""For the checkpoint and report of an epoch, approximately."""


def estimate_seconds(
    config: SweepConfig, data: TrialData, profile: SweepProfile, slot: Slot, *, max_concurrent: int, trials: int
) -> float | None:
    """Return an upper estimate of a sweep's duration; None if an architecture could not be profiled."""
    kinds = _trial_kinds(config, trials)
    seconds_by_kind = {kind: _trial_seconds(config, data, profile, slot, *kind) for kind in set(kinds)}
    trial_seconds = [seconds for kind in kinds if (seconds := seconds_by_kind[kind]) is not None]
    if len(trial_seconds) < len(kinds):
        return None
    start = _PROCESSES_PER_TRIAL * profile.import_seconds
    total = start + _makespan(trial_seconds, max_concurrent)
    finals = config.search.finalists
    if finals is not None:
        total += start + _makespan([max(trial_seconds)] * min(finals.top, trials) * finals.seeds, max_concurrent)
    return total


def format_duration(seconds: float) -> str:
    """Format a duration for users, rounded up to what an estimate can tell."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds / 10)) * 10} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(math.ceil(minutes / 10) * 10, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def _trial_kinds(config: SweepConfig, trials: int) -> list[tuple[str, int]]:
    """Return architecture and frame count of each trial, in order; equally many of each kind if a search draws them."""
    listed = config.choices() if config.search.trials is None else None
    if listed is not None:
        return [(choice["arch"], choice["num_frames"]) for choice in listed]
    drawn = [(space.arch, count) for space in config.subspaces() for count in space.values("num_frames")]
    return list(itertools.islice(itertools.cycle(drawn), trials))


def _trial_seconds(
    config: SweepConfig, data: TrialData, profile: SweepProfile, slot: Slot, arch: str, num_frames: int
) -> float | None:
    """Return the seconds of a trial that trains all its epochs, taking the time per clip as proportional to frames."""
    trial = profile.find(arch)
    if trial is None:
        return None
    train, val = sum(len(fold.train) for fold in data.folds), sum(len(fold.val) for fold in data.folds)
    clips = (train * trial.train_seconds + val * trial.val_seconds) * num_frames / trial.num_frames
    # Trials that share a GPU take turns on it.
    slowdown = max(1.0, (trial.gpu_busy or 1.0) * math.floor(1 / slot.gpus)) if 0 < slot.gpus < 1 else 1.0
    epoch = _EPOCH_OVERHEAD_SECONDS + clips * slowdown / slot.workers
    return trial.build_seconds + config.train.epochs * epoch


def _makespan(seconds: Sequence[float], slots: int) -> float:
    """Return when the last of several trials ends if each starts as soon as one of the slots is free."""
    ends = [0.0] * min(slots, len(seconds))
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)
