"""Which demo clips there are: their classes, groups and file names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.demo.encode import CONTAINERS
from data.demo.exercises import EXERCISES, TIME_PAIR
from data.demo.random_streams import named_generator
from data.errors import DataError


@dataclass(frozen=True)
class DemoClip:
    """One generated clip."""

    path: str
    """POSIX path relative to the demo folder."""
    label: str
    """The class."""
    group: str
    """One person in one room; all clips of a group show one class."""


_MOST_CLIPS = 100_000


def plan_demo(classes: int, clips_per_class: int, seed: int) -> list[DemoClip]:
    """Return the clips that `write_demo` generates for these parameters.

    The two classes of the time pair have `clips_per_class` clips each; the others have fewer and fewer, down to a
    third. A group has 2 to 4 clips, except in classes too small for that: each class has at least 3 groups, and 4 if
    `clips_per_class` is 12 or more.

    Raises:
        DataError: a parameter is out of range.
    """
    if not len(TIME_PAIR) <= classes <= len(EXERCISES):
        most = len(EXERCISES)
        raise DataError(f"classes is {classes}, but there are {most} demo classes; give 2 to {most}")
    if not 3 <= clips_per_class <= _MOST_CLIPS:
        raise DataError(f"clips per class is {clips_per_class}; give 3, for three splits, to {_MOST_CLIPS}")
    if seed < 0:
        raise DataError(f"seed is {seed}; give 0 or more")
    fewest_groups = 4 if clips_per_class >= 12 else 3
    plan: list[DemoClip] = []
    for rank, name in enumerate(list(EXERCISES)[:classes]):
        rarity = max(0, rank - 1) / max(1, classes - 2)
        clips = max(fewest_groups, round(clips_per_class * 3**-rarity))
        plan += _plan_class(name, clips, fewest_groups, seed)
    return plan


def _plan_class(label: str, clips: int, fewest_groups: int, seed: int) -> Iterator[DemoClip]:
    sizes = _group_sizes(clips, max(fewest_groups, round(clips / 2.5)), named_generator(seed, label))
    for number, size in enumerate(sizes, start=1):
        group = f"{label.replace(' ', '_')}-{number:02}"
        suffix = named_generator(seed, group, "container").choice(list(CONTAINERS), p=[0.8, 0.1, 0.1])
        for take in range(1, size + 1):
            yield DemoClip(f"{label}/{group}-{take}{suffix}", label, group)


def _group_sizes(clips: int, groups: int, rng: np.random.Generator) -> list[int]:
    """Return the number of clips in each group: equal at first, then varied between 2 and 4 where possible."""
    sizes = [clips // groups + (group < clips % groups) for group in range(groups)]
    for giver, taker in rng.integers(0, groups, (groups, 2)):
        if giver != taker and sizes[giver] > 2 and sizes[taker] < 4:
            sizes[giver] -= 1
            sizes[taker] += 1
    return sizes
