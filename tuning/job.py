"""What a sweep hands to its trials; plain values, light to import, since each trial starts several processes."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from data.cache import FrameStore, LabelledFrames
from data.decode import DecodeSettings
from tuning.config import SweepConfig


class TrialData(BaseModel):
    """The clips that all trials of a sweep share."""

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, ...]
    split_sha256: str
    store_root: str
    decode: DecodeSettings
    train: tuple[LabelledFrames, ...]
    val: tuple[LabelledFrames, ...]

    def store(self) -> FrameStore:
        """The frame store that holds the clips."""
        return FrameStore(Path(self.store_root), self.decode)


class Slot(BaseModel):
    """What one trial takes of the cluster."""

    model_config = ConfigDict(frozen=True)

    workers: int
    cpus: float
    """CPUs a worker."""
    gpus: float
    """GPUs a worker."""


class TrialJob(BaseModel):
    """What all trials of a sweep share."""

    model_config = ConfigDict(frozen=True)

    sweep: SweepConfig
    data: TrialData
    slot: Slot
    checkpoints: str
    """Absolute folder, reached by all nodes, that holds a folder of checkpoints for each trial."""
