"""Create the run folder."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from data.dataset.splits import write_split
from data.quality.grouping import write_groups
from tuning.config.load import save_config
from tuning.config.run_dir import RunFolder
from tuning.config.schema import ConfigError
from tuning.config.sweep_config import SweepConfig
from tuning.prepare import PreparedData
from tuning.tracking.events import Journal
from tuning.tracking.mlflow_writer import start_sweep
from tuning.tracking.outbox import Spool


def new_run(run: RunFolder, config: SweepConfig, prepared: PreparedData) -> None:
    """Make the run's folder with its settings, split and MLflow run; all of it or nothing.

    Raises:
        ConfigError: a run of this name is there.
        TrackingError: MLflow refuses.
    """
    refuse_existing(run)
    try:
        run.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"runs_dir {str(run.path.parent)!r} can't be made: {error.strerror}") from None
    aside = RunFolder(Path(tempfile.mkdtemp(prefix=f".{run.path.name}-", dir=run.path.parent)))
    try:
        write_split(prepared.split, aside.split)
        save_config(config, aside.config)
        _write_defects(aside, prepared)
        if prepared.grouping is not None:
            write_groups(prepared.grouping, aside.groups)
        start_sweep(run.path.name, config, _data_params(prepared), aside.config).save(aside.tracking)
        aside.path.chmod(0o755)
        aside.path.rename(run.path)
    except BaseException:
        shutil.rmtree(aside.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            run.path.parent.rmdir()  # Only if nothing else is in it.
        # Another sweep may have taken the name while this one decoded.
        refuse_existing(run)
        raise


def check_writable(run: RunFolder) -> None:
    """See that run folders can be made, before anything that takes long.

    Raises:
        ConfigError: they can't.
    """
    folder = run.path.parent
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(f"runs_dir {str(folder)!r} can't be made: {str(nearest)!r} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"runs_dir {str(folder)!r} can't be written: no permission for {str(nearest)!r}")


def has_ended(run: RunFolder) -> bool:
    """Whether a sweep came to its champion's report, so that nothing is left to go on with."""
    return run.spool.exists() and Journal(Spool(run.spool)).finished


def refuse_existing(run: RunFolder) -> None:
    """Two sweeps in one folder would mix their results.

    Raises:
        ConfigError: the folder is there.
    """
    if run.path.exists():
        raise ConfigError(
            f"run {run.path.name!r} exists ({run.path}): go on with --resume {run.named}, or give another --name"
        )


def _data_params(prepared: PreparedData) -> dict[str, int | str]:
    counts = Counter(row.split for row in prepared.split.rows)
    return {
        "classes": len(prepared.split.classes),
        **{f"{name}_clips": count for name, count in sorted(counts.items())},
        "failed_clips": len(prepared.build.failed),
        "split_sha256": prepared.split.sha256,
    }


def _write_defects(run: RunFolder, prepared: PreparedData) -> None:
    left_out = {clip.path for clip in prepared.build.failed}
    with run.defects.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "what", "defect", "detail"])
        for defect in prepared.defects:
            what = "left out" if defect.path in left_out else "used"
            writer.writerow([defect.path, what, defect.name, defect.detail])
