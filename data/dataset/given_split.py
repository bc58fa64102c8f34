"""The split that clips come with, by split folders or by label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from data.clip import Clip
from data.dataset.layout import MERGE
from data.dataset.splits import Split, SplitRow, check_usable
from data.dataset.stratify import cut_val
from data.errors import DataError

_REMEDY = f"or give --split {MERGE} to ignore these splits and make a new one"


def given_split(
    clips: Sequence[Clip], splits: Mapping[str, str], root: Path, *, val: float = 0.15, seed: int = 0
) -> Split:
    """Return the split that clips come with; if it has train and test alone, whole groups of train become val.

    Args:
        clips: with their groups.
        splits: the split of each clip.
        root: the data folder, which errors name.
        val: fraction of each class's training clips to validate on, if there is no val.
        seed: chooses among choices of these that are equally good.

    Raises:
        DataError: train or test is missing, a group is in two splits, or a class is never trained on.
    """
    found = set(splits.values())
    for part in ("train", "test"):
        if part not in found and not _has_folds(splits):
            raise DataError(
                f"the clips in '{root}' come with {' and '.join(sorted(found))}, but without {part}; add it, {_REMEDY}"
            )
    by_path = {clip.path: clip for clip in clips}
    validated: set[str] = set()
    if needs_val(splits):
        validated = cut_val([by_path[path] for path, part in splits.items() if part == "train"], val=val, seed=seed)
    split = Split(
        tuple(
            SplitRow(clip, "val" if splits[clip.path] == "train" and clip.group in validated else splits[clip.path])
            for clip in clips
        )
    )
    try:
        check_usable(split, root)
    except DataError as error:
        raise DataError(f"{error}, {_REMEDY}") from None
    return split


def needs_val(splits: Mapping[str, str]) -> bool:
    """Return whether validation clips are to be cut from train."""
    return "val" not in splits.values() and not _has_folds(splits)


def unused_split_settings(splits: Mapping[str, str]) -> set[str]:
    """Return the settings of a new split that have no effect on the one that clips come with."""
    return {"test", "folds", "few_groups"} | (set() if needs_val(splits) else {"val", "seed"})


def check_copies_together(copies: Sequence[Sequence[str]], splits: Mapping[str, str]) -> None:
    """Check that files with the same bytes are in one split.

    Raises:
        DataError: some are in two.
    """
    separated = [same for same in copies if len({splits[path] for path in same}) > 1]
    if separated:
        raise DataError(
            f"{len(separated)} sets of identical files are in two splits, the first is "
            f"{' = '.join(map(repr, separated[0]))}; remove all but one, {_REMEDY}"
        )


def _has_folds(splits: Mapping[str, str]) -> bool:
    return any(part.startswith("fold-") for part in splits.values())
