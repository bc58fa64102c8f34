"""The clips of a sweep as plain values. Light to import, since each trial starts several processes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tuning.config.schema.store import StoreConfig


class FoldClips(BaseModel):
    """Clips to train on and clips to validate on, of one fold."""

    model_config = ConfigDict(frozen=True)

    train: tuple[LabelledFrames, ...]
    val: tuple[LabelledFrames, ...]


class TrialData(BaseModel):
    """The clips that all trials of a sweep share."""

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, ...]
    split_sha256: str
    frame_store: StoreConfig
    decode: DecodeSettings
    folds: tuple[FoldClips, ...]
    """One without cross-validation."""

    def store(self) -> FrameStore:
        """Open the frame store of the clips."""
        return self.frame_store.open(self.decode)

    def digests(self) -> set[str]:
        """Return the digests of all clips."""
        return {clip.digest for fold in self.folds for clip in (*fold.train, *fold.val)}
