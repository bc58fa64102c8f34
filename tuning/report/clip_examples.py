"""Examples of clips for the page: the frames that the champion saw, and where it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.errors import DataError
from data.loading.model_input import eval_frames
from data.page import frame_strip
from tuning.evaluation.clip_source import ClipSource
from tuning.inference.champion import Champion
from tuning.report.findings import SweepFindings

_MAX_FRAMES = 8


@dataclass(frozen=True, slots=True)
class ClipExample:
    """A clip with its label, and the class that the champion prefers."""

    clip: str
    label: str
    predicted: str
    probability: float
    """Of the predicted class."""
    image: str
    """Strip of frames as a data URI; empty if neither the clip nor the frame store has them."""


class ClipExamples:
    """Renders examples of clips; decodes those that the frame store lacks."""

    def __init__(self, findings: SweepFindings, source: ClipSource, limit: int) -> None:
        """Find the frames of the clips.

        Raises:
            DataError: the user gave a folder that lacks a clip or has another file of its name.
        """
        self._champion = Champion(findings.run.best)
        self._classes = findings.classes
        self._mistakes, self._issues = findings.mistakes[:limit], findings.label_issues[:limit]
        self._source = source
        clips = sorted({each.clip for each in self._mistakes} | {each.clip for each in self._issues})
        self._digests = self._find_frames(clips)
        self.missing = [clip for clip in clips if clip not in self._digests]
        """Clips without pictures."""

    def _find_frames(self, clips: Sequence[str]) -> Mapping[str, str]:
        """Return the digests of the clips whose frames are in the store now.

        Frames are those of the clip's file or, if it is missing or another one by now, those that the store still has
        of the file that the sweep read.
        """
        source, digests = self._source, dict[str, str]()
        if clips and source.given:
            source.check(clips, "clips that the report shows")
        present = source.present(clips)
        if present:
            digests = source.decode(present, workers=1, progress=False).digests()
        if source.given:
            source.check_content(digests)
        if source.moved or len(digests) < len(clips):
            digests |= source.recorded_digests(clips)
        return {clip: digest for clip, digest in digests.items() if self._has_frames(digest)}

    def _has_frames(self, digest: str) -> bool:
        try:
            self._source.store.read(digest)
        except DataError:
            return False
        return True

    def mistakes(self) -> list[ClipExample]:
        """Return the most confident mistakes on the test clips, with Grad-CAM for the predicted class."""
        return [
            ClipExample(
                each.clip,
                each.label,
                each.predicted,
                each.probability,
                self._image(each.clip, self._classes.index(each.predicted)),
            )
            for each in self._mistakes
        ]

    def label_issues(self) -> list[ClipExample]:
        """Return the validation clips whose label is most likely wrong."""
        return [
            ClipExample(each.clip, each.label, each.suggested, each.p_suggested, self._image(each.clip, None))
            for each in self._issues
        ]

    def _image(self, clip: str, target: int | None) -> str:
        if clip not in self._digests:
            return ""
        stored = self._source.store.read(self._digests[clip])
        frames = eval_frames(stored, self._champion.selection, self._champion.transform)
        heat = None if target is None else self._champion.grad_cam(frames, target)
        shown = _spread_indices(len(frames))
        return frame_strip(frames[shown].permute(0, 2, 3, 1).numpy(), None if heat is None else heat[shown])


def _spread_indices(frames: int) -> list[int]:
    """Return the indices of at most `_MAX_FRAMES` frames, from the middles of equal parts."""
    count = min(frames, _MAX_FRAMES)
    return [int((number + 0.5) / count * frames) for number in range(count)]
