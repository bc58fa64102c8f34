"""Find the folder of a champion; imports nothing that takes long, so that a typing error is refused at once."""

from __future__ import annotations

from pathlib import Path

from tuning.config.run_folder import RunFolder, find_run
from tuning.errors import ConfigError


def find_champion(run: Path | None, model: Path | None) -> tuple[Path, RunFolder | None]:
    """Return the folder of a champion, and its run if it is known.

    Args:
        run: the run, or None.
        model: the champion's folder; used if `run` is None.

    Raises:
        ConfigError: there is no such run or folder, or the sweep of the run has not ended.
    """
    if run is not None:
        found = find_run(str(run))
        if not found.best.exists():
            raise ConfigError(
                f"run {found.cli_name!r} has no champion yet, since its sweep has not ended; resume it with: "
                f"python -m tuning sweep --resume {found.cli_name}"
            )
        return found.best, found
    assert model is not None
    if not model.is_dir():
        raise ConfigError(f"no checkpoint in {str(model)!r}: it is no folder; give one such as runs/NAME/best")
    parent = RunFolder(model.absolute().parent)
    return model, parent if parent.config.is_file() and parent.best == model.absolute() else None
