"""The scheduler that stops trials early."""

from __future__ import annotations

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from tuning.config.sweep_config import SweepConfig


def build_scheduler(sweep: SweepConfig) -> TrialScheduler:
    """Return ASHA as set by `search.asha`, or a scheduler that stops no trial if that is null.

    `tuning/sweep.py` gives every scheduler the metric.
    """
    asha = sweep.search.asha
    if asha is None:
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        # Not Tune's `training_iteration`: that counts from 1 again when a trial's driver is restarted.
        time_attr="epoch",
        max_t=sweep.train.epochs,
        grace_period=asha.grace_epochs,
        reduction_factor=asha.reduction_factor,
    )
