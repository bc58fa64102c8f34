"""Estimate the size of a frame store from the headers of a few clips, before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from data.video.container import UnusableClipError, open_video
from data.video.decode import DecodeSettings
from data.video.frame_converter import stored_size

_SAMPLED_CLIPS = 16
_METADATA_BYTES = 1024
"""Of an entry besides its frames, at most."""
_USUAL_SIZE = (1920, 1080)


def estimate_stored_bytes(files: Sequence[Path], settings: DecodeSettings) -> int:
    """Return about how many bytes the entries of these clips take, from the headers of some of them.

    Args:
        files: the clips.
        settings: how they are going to be decoded.
    """
    sampled = [files[len(files) * number // _SAMPLED_CLIPS] for number in range(_SAMPLED_CLIPS)] if files else []
    pixels = [width * height for file in dict.fromkeys(sampled) for width, height in _stored_sizes(file, settings)]
    if not pixels:
        width, height = stored_size(*_USUAL_SIZE, settings.short_side)
        pixels = [width * height]
    return round(len(files) * (3 * settings.frames * fmean(pixels) + _METADATA_BYTES))


def _stored_sizes(file: Path, settings: DecodeSettings) -> list[tuple[int, int]]:
    """Return width and height of a clip's stored frames, before rotation; nothing if its header can't be read."""
    try:
        with open_video(file) as (_, stream):
            if not (stream.width and stream.height):
                return []
            return [stored_size(stream.width, stream.height, settings.short_side, stream.sample_aspect_ratio)]
    except (UnusableClipError, OSError):
        return []
