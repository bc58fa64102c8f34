"""The duration of the training clips, by which clips and long videos are distinguished."""

from __future__ import annotations

import statistics
from pathlib import Path

from data.dataset.splits import read_split
from data.errors import DataError
from data.video.sliding_windows import video_duration
from tuning.config.run_folder import RunFolder

LONG_FACTOR = 3
"""A video is long if it lasts more than this many times as long as a training clip."""

_MAX_SAMPLES = 64
"""Training clips whose duration is read."""


def training_clip_seconds(run: RunFolder) -> float | None:
    """Return the median duration of up to 64 training clips in seconds; None if the clips are not on this machine.

    Raises:
        ConfigError: the folder is not a run.
        DataError: its split is damaged.
    """
    folder = Path(run.read_config().data.dir)
    if not run.split.is_file() or not folder.is_dir():
        return None
    clips = [row.clip for row in read_split(run.split).rows if row.split != "test"]
    durations = []
    for clip in clips[:: -(-len(clips) // _MAX_SAMPLES) or 1]:
        try:
            durations.append(video_duration(folder / clip.path))
        except (DataError, OSError):
            continue
    return statistics.median(durations) if durations else None
