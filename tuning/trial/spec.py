"""What a sweep hands to its trials; plain values, light to import, since each trial starts several processes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tuning.config.sweep_config import SweepConfig
from tuning.training.trial_data import TrialData

DRIVER_MEMORY = 256 * 2**20
"""Bytes that a trial's driver asks for beside its workers."""


class Slot(BaseModel):
    """What one trial takes of the cluster."""

    model_config = ConfigDict(frozen=True)

    workers: int
    cpus: float
    """CPUs a worker."""
    gpus: float
    """GPUs a worker."""
    memory: int | None = None
    """Bytes a worker; None to ask for none."""

    @property
    def of_worker(self) -> dict[str, float]:
        """What a worker takes, as Ray names it."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory or 0)}
        return {name: amount for name, amount in asked.items() if amount}

    @property
    def told(self) -> str:
        """What a trial takes, for people."""
        memory = "" if self.memory is None else f" and {self.memory / 1e9:.2g} GB"
        return f"{self.workers} worker(s) of {self.cpus:g} CPU and {self.gpus:g} GPU{memory}"


class TrialJob(BaseModel):
    """What all trials of a sweep share."""

    model_config = ConfigDict(frozen=True)

    sweep: SweepConfig
    data: TrialData
    slot: Slot
    checkpoints: str
    """Absolute folder, reached by all nodes, that holds a folder of checkpoints for each trial."""
