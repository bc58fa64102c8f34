"""Section `store`: the decoded frames."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings
from tuning.config.schema.base import Settings


class StoreConfig(Settings):
    """The frame store: each clip is decoded once, and all trials read the same frames."""

    dir: str = Field("frame_store", min_length=1)
    """Folder of the decoded frames. On a cluster a folder that all nodes mount, or a bucket (`s3://BUCKET/PREFIX`)."""
    local: str | None = None
    """Folder on each node's own disk where the node keeps copies of the frames it reads. Required for a bucket, faster
    than a network mount. `null`: no copies."""
    frames: int = Field(32, ge=1, le=1024)
    """Frames stored per clip, equally spaced in time. `space.num_frames` can't be larger. If it is not set, it is
    at least what trials take."""
    short_side: int = Field(128, ge=16, le=2160)
    """Short side of a stored frame in pixels. The aspect ratio stays; smaller videos are not enlarged."""
    workers: int | None = Field(None, ge=1)
    """Decoding processes. `null`: one per CPU core. Has no effect on a cluster, where all nodes decode."""
    seconds_per_clip: float = Field(300.0, gt=0)
    """Time limit for decoding one clip in seconds."""
    verify: bool = True
    """Check the checksums of all stored frames before a sweep and decode damaged ones again."""

    @model_validator(mode="after")
    def _bucket_has_copies(self) -> StoreConfig:
        if self.in_bucket and self.local is None:
            raise ValueError(f"dir is {self.dir!r}, a bucket, of which nodes keep copies: set store.local")
        return self

    @property
    def in_bucket(self) -> bool:
        """Whether the frames are in a bucket, not in a folder."""
        return "://" in self.dir

    def open(self, settings: DecodeSettings | None = None) -> FrameStore:
        """Return the frame store, with the decode settings of this section or, if given, those of a checkpoint."""
        root = self.dir if self.in_bucket else Path(self.dir)
        return FrameStore(root, settings or self.decode_settings(), Path(self.local) if self.local else None)

    def decode_settings(self) -> DecodeSettings:
        """Return the settings that determine the pixels of a stored frame."""
        return DecodeSettings(frames=self.frames, short_side=self.short_side)
