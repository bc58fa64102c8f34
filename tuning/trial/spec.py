"""What a sweep hands to its trials: plain values, light to import, since each trial starts several processes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tuning.config.sweep_config import SweepConfig
from tuning.training.trial_data import TrialData

DRIVER_MEMORY = 256 * 2**20
"""Bytes of main memory that Ray reserves for a trial's driver, in addition to its workers."""


class Slot(BaseModel):
    """Resources of one trial."""

    model_config = ConfigDict(frozen=True)

    workers: int
    cpus: float
    """CPUs per worker."""
    gpus: float
    """GPUs per worker."""
    memory: int | None = None
    """Bytes of main memory per worker; None to reserve none."""

    @property
    def worker_resources(self) -> dict[str, float]:
        """Resources of one worker, by Ray's names."""
        resources = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory or 0)}
        return {name: amount for name, amount in resources.items() if amount}

    @property
    def summary(self) -> str:
        """The resources as text for users."""
        memory = "" if self.memory is None else f" and {self.memory / 1e9:.2g} GB"
        return f"{self.workers} worker(s) of {self.cpus:g} CPU and {self.gpus:g} GPU{memory}"


class TrialJob(BaseModel):
    """What all trials of a sweep share."""

    model_config = ConfigDict(frozen=True)

    sweep: SweepConfig
    data: TrialData
    slot: Slot
    checkpoints: str
    """Absolute folder with one sub-folder of checkpoints per trial; all nodes reach it by this path."""
