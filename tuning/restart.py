"""What a killed trial leaves that would keep it from going on."""

from __future__ import annotations

import json
from pathlib import Path

_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray's list of a trial's checkpoints."""


def mend_snapshot(folder: Path) -> None:
    """Remove Ray's list of a trial's checkpoints if Ray would refuse it, at each new try and so for ever.

    Ray writes the file in place: a kill or a full disk leaves half of it, or nothing in it. The checkpoints are found
    without it.
    """
    file = folder / _SNAPSHOT
    try:
        listed = json.loads(file.read_text())["checkpoint_results"]
        whole = all((folder / each["checkpoint_dir_name"]).is_dir() for each in listed)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        print(f"note: {file} is damaged and not gone by", flush=True)
        file.unlink()
