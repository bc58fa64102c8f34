"""The result of a build of the frame store: which clips have frames, and why others have none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.clip import Clip
from data.video.decode import ClipFacts


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip whose frames are in the store."""

    path: str
    """See `Clip`."""
    digest: str
    """SHA-256 of the video file, hexadecimal."""
    facts: ClipFacts


@dataclass(frozen=True, slots=True)
class FailedClip:
    """A clip without frames in the store."""

    path: str
    """See `Clip`."""
    defect: str
    """Name of the defect, such as `unreadable`."""
    reason: str


@dataclass(frozen=True, slots=True)
class LabelledFrames:
    """A sample for training or evaluation: the digest of a clip's frames, and the index of its class."""

    clip_id: str
    """The clip's path, see `Clip`."""
    digest: str
    """See `StoredClip`."""
    label: int
    """Index of the class."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """All clips of a build, each stored or failed."""

    stored: tuple[StoredClip, ...]
    failed: tuple[FailedClip, ...]
    decoded: int
    """Clips that this build decoded; the others were in the store already."""
    repaired: tuple[str, ...] = ()
    """Paths of clips that were decoded again because their entry was corrupt."""

    def digests(self) -> dict[str, str]:
        """Return the digest of each stored clip by its path."""
        return {clip.path: clip.digest for clip in self.stored}

    def labelled(self, clips: Iterable[Clip], classes: Sequence[str]) -> list[LabelledFrames]:
        """Return a sample for each clip that is stored, with the index of its class in `classes`."""
        digests, index = self.digests(), {name: i for i, name in enumerate(classes)}
        return [LabelledFrames(c.path, digests[c.path], index[c.label]) for c in clips if c.path in digests]
