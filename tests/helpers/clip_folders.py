"""Folders of empty files, for tests that need only their names."""

from __future__ import annotations

from pathlib import Path


def make_files(root: Path, *names: str) -> Path:
    """Create empty files below `root` and return it."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def make_split_folders(root: Path, **counts: int) -> Path:
    """Create a folder per split with the given number of clips of squat and of push up; return `root`."""
    for split, count in counts.items():
        for label in ("push up", "squat"):
            make_files(root, *(f"{split}/{label}/{split} {number}.mp4" for number in range(count)))
    return root
