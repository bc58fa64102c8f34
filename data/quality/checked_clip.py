"""The frames that a model takes of a clip in prediction, together with the clip's defects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from data.errors import DataError
from data.files import not_a_file
from data.loading.frame_selection import FrameSelection
from data.loading.model_input import eval_frames
from data.loading.transforms import EvalTransform
from data.quality.clip_defects import defects_of_clip
from data.quality.limits import Limits
from data.video.decode import ClipFacts, DecodeSettings, decode_clip


@dataclass(frozen=True, slots=True)
class CheckedClip:
    """Frames of a clip as a model takes them, the facts of its decoding, and its defects."""

    frames: torch.Tensor
    """uint8 `(T, 3, S, S)`."""
    facts: ClipFacts
    defects: dict[str, str]
    """Name and detail of each defect, as `python -m data audit` reports them."""


def load_checked_clip(
    file: Path, decode: DecodeSettings, selection: FrameSelection, transform: EvalTransform, limits: Limits
) -> CheckedClip:
    """Decode a video file, find its defects, and select its frames as in evaluation.

    Raises:
        DataError: the file can't be read or decoded; the message is the reason, without the file's name.
    """
    try:
        if not file.is_file():
            raise DataError(not_a_file(file, "give video files"))
        decoded = decode_clip(file, decode)
    except OSError as error:
        raise DataError(f"it can't be opened ({error.strerror})") from None
    return CheckedClip(
        eval_frames(decoded.frames, selection, transform),
        decoded.facts,
        defects_of_clip(decoded.facts, decoded.frames, limits),
    )
