"""Where the files of a run are after its folder, or the whole project, was moved or copied."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data.dataset.splits import read_split
from data.errors import DataError
from tuning.config.paths import change_paths
from tuning.config.sweep_config import SweepConfig

_CLIPS_TO_LOOK_FOR = 20


@dataclass(frozen=True, slots=True)
class Move:
    """A folder that was moved or copied from `old` to `new`."""

    old: Path
    new: Path

    @classmethod
    def between(cls, recorded: Path, present: Path) -> Move | None:
        """Return the move that brought a folder from its recorded path to its present one; None if both are the same.

        It is the move of the topmost folder that can have been moved: `/a/project/runs/x`, now `/b/runs/x`, was moved
        with `/a/project`, which is now `/b`.
        """
        if is_same_path(recorded, present):
            return None
        old, new = recorded, present
        while old.name == new.name and len(old.parts) > 2 and len(new.parts) > 2:
            old, new = old.parent, new.parent
        return cls(old, new)

    def apply(self, path: Path) -> Path:
        """Return where a path is after the move; a path outside the moved folder stays."""
        if path.is_relative_to(self.new) and self.new.is_relative_to(self.old):
            return path  # The folder was moved into a folder beside this path.
        return self.new / path.relative_to(self.old) if path.is_relative_to(self.old) else path

    def undo(self, path: Path) -> Path:
        """Return where a path was before the move."""
        return self.old / path.relative_to(self.new)

    def locate(self, path: str) -> str:
        """Return where a file or folder is now: moved with the others, or left where it was if it is only there."""
        moved = self.apply(Path(path))
        return path if os.path.exists(path) and not os.path.exists(moved) else str(moved)


def present_paths(config: SweepConfig, move: Move, run: Path, split: Path) -> SweepConfig:
    """Return the settings of a run that was moved, with all paths as they are now.

    Args:
        config: the settings as the sweep wrote them.
        move: how the run folder got to its place.
        run: the run folder.
        split: its split file, by which the folder of its clips is recognised.
    """
    present = change_paths(config, move.locate)
    data = present.data.model_copy(update={"dir": _folder_of_clips(config.data.dir, move, split)})
    return present.model_copy(update={"name": run.name, "runs_dir": str(run.parent), "data": data})


def _folder_of_clips(recorded: str, move: Move, split: Path) -> str:
    """Return the folder, of the two that it can be, that has clips of the split."""
    moved = str(move.apply(Path(recorded)))
    if moved == recorded:
        return recorded
    try:
        paths = [row.clip.path for row in read_split(split).rows][:_CLIPS_TO_LOOK_FOR]
    except DataError:
        paths = []
    for folder in (moved, recorded):
        if any(os.path.isfile(os.path.join(folder, path)) for path in paths):
            return folder
    return move.locate(recorded)


def is_same_path(one: Path, other: Path) -> bool:
    """Whether two paths are the same or lead to the same file or folder."""
    # A folder of another user, to which this one has no access, does not exist for it.
    return one == other or (os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))
