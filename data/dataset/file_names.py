"""Groups from file names: `gym_07_01.mp4` and `gym_07_02.mp4` are parts of one recording."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from data.clip import Clip

_COUNTER = re.compile(r"^(?P<stem>.*?[^\W_])(?P<mark>[-_ .]+(?:part|clip|seg|cut)?[-_ .]*)(?P<number>\d{1,4})$", re.I)
_LARGEST_SHARE = 0.5
"""A stem shared by more than this fraction of a class names the class, not a recording."""


def group_by_file_name(clips: Sequence[Clip]) -> dict[str, list[str]]:
    """Group clips of one class whose names differ only in their last number.

    Names such as `squat_1.mp4` to `squat_41.mp4` are ignored: a stem does not count if most of the class has it, or if
    its number counts recordings, as in `gym_7.mp4` next to `gym_12_01.mp4`.

    Returns:
        `folder/stem` to the sorted paths of two or more clips.
    """
    class_sizes: defaultdict[str, int] = defaultdict(int)
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for clip in clips:
        class_sizes[clip.label] += 1
        path = PurePosixPath(clip.path)
        match = _COUNTER.match(path.stem)
        if match:
            found[clip.label, str(path.parent / match["stem"])].append(clip.path)
    stems = {stem for _, stem in found}
    recording_counters = {match["stem"] for stem in stems if (match := _COUNTER.match(stem))}
    return {
        stem: sorted(paths)
        for (label, stem), paths in sorted(found.items())
        if 1 < len(paths) <= _LARGEST_SHARE * class_sizes[label] and stem not in recording_counters
    }
