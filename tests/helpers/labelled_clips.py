"""Lists of clips without files, for tests of splits."""

from __future__ import annotations

from hypothesis import strategies as st

from data.clip import Clip


def clips_of(**sizes: list[int]) -> list[Clip]:
    """Return clips of each class in groups of its own, which have these sizes."""
    return [
        Clip(f"{label}/{number}-{index}.mp4", label, f"{label}-{number}")
        for label, numbers in sizes.items()
        for number, size in enumerate(numbers)
        for index in range(size)
    ]


def mixed_clips(words: list[str]) -> list[Clip]:
    """Return one group per word, with one clip per letter, whose class is the letter."""
    return [
        Clip(f"{label}/{number}-{index}.mp4", label, f"g{number}")
        for number, labels in enumerate(words)
        for index, label in enumerate(labels)
    ]


SINGLE_CLASS_GROUPS = st.dictionaries(
    st.sampled_from("abcde"), st.lists(st.integers(1, 9), min_size=3, max_size=8), min_size=2
).map(lambda sizes: clips_of(**sizes))
MIXED_GROUPS = st.lists(st.text("abcd", min_size=1, max_size=6), min_size=4, max_size=7).map(mixed_clips)

FEW_GROUPS_CLIPS = clips_of(squat=[4, 3, 3, 2], press=[2, 2, 2], dip=[3, 7], row=[1])
"""The classes dip and row have fewer than three groups."""
