"""What a build of the frame store tells: which clips have frames, which have none and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.clip import Clip
from data.video.decode import ClipFacts


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip whose frames are in the store."""

    path: str
    digest: str
    """SHA-256 of the video file's bytes, hexadecimal."""
    facts: ClipFacts


@dataclass(frozen=True, slots=True)
class FailedClip:
    """A clip that gives no frames."""

    path: str
    defect: str
    """The defect's name, such as `unreadable`."""
    reason: str


@dataclass(frozen=True, slots=True)
class LabelledFrames:
    """A clip as training sees it: its frames by digest, its class by index."""

    clip_id: str
    digest: str
    label: int


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build found and did."""

    stored: tuple[StoredClip, ...]
    failed: tuple[FailedClip, ...]
    decoded: int
    """Clips decoded by this build; the others were in the store."""
    repaired: tuple[str, ...] = ()
    """Paths of those decoded since the store's entry was damaged."""

    def digests(self) -> dict[str, str]:
        """Clip path to digest, for the clips that have frames."""
        return {clip.path: clip.digest for clip in self.stored}

    def labelled(self, clips: Iterable[Clip], classes: Sequence[str]) -> list[LabelledFrames]:
        """Those of the clips that have frames, with their label as its index in `classes`."""
        digests, index = self.digests(), {name: i for i, name in enumerate(classes)}
        return [LabelledFrames(c.path, digests[c.path], index[c.label]) for c in clips if c.path in digests]
