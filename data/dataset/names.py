"""What file names say of where clips come from: `gym_07_01.mp4` and `gym_07_02.mp4` are parts of one recording."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from data.clip import Clip

_COUNTER = re.compile(r"^(?P<stem>.*?[^\W_])(?P<mark>[-_ .]+(?:part|clip|seg|cut)?[-_ .]*)(?P<number>\d{1,4})$", re.I)
_LARGEST_SHARE = 0.5
"""A stem that more of a class bears than this names the class, not a recording."""


def named_alike(clips: Sequence[Clip]) -> dict[str, list[str]]:
    """Clips of one class whose names differ in their last number alone, by what they have in common.

    `squat_1.mp4` to `squat_41.mp4` say nothing: a stem does not count that most of the class bears, nor one whose
    number counts recordings, as where `gym_7.mp4` stands beside `gym_12_01.mp4`.

    Returns:
        `folder/stem` to the sorted paths of two or more clips.
    """
    labels: defaultdict[str, int] = defaultdict(int)
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for clip in clips:
        labels[clip.label] += 1
        path = PurePosixPath(clip.path)
        match = _COUNTER.match(path.stem)
        if match:
            found[clip.label, str(path.parent / match["stem"])].append(clip.path)
    stems = {stem for _, stem in found}
    above = {match["stem"] for stem in stems if (match := _COUNTER.match(stem))}
    return {
        stem: sorted(paths)
        for (label, stem), paths in sorted(found.items())
        if 1 < len(paths) <= _LARGEST_SHARE * labels[label] and stem not in above
    }
