"""Create the run folder."""

from __future__ import annotations

import contextlib
import csv
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from data.dataset.splits import write_split
from data.quality.grouping import write_groups
from tuning.config.load import save_config
from tuning.config.run_folder import RunFolder, refuse_existing
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.prepare.clips import PreparedData
from tuning.tracking.events import EventLog
from tuning.tracking.mlflow_setup import create_sweep_run
from tuning.tracking.outbox import Outbox


def new_run(run: RunFolder, config: SweepConfig, prepared: PreparedData) -> None:
    """Create the run folder with its settings, split and MLflow run, atomically.

    Raises:
        ConfigError: a run of this name exists, or the folder can't be written.
        TrackingError: MLflow refuses the run.
    """
    refuse_existing(run)
    try:
        run.path.parent.mkdir(parents=True, exist_ok=True)
        staging = RunFolder(Path(tempfile.mkdtemp(prefix=f".{run.path.name}-", dir=run.path.parent)))
    except OSError as error:
        raise ConfigError(f"runs_dir {str(run.path.parent)!r} can't be created: {error.strerror}") from None
    try:
        write_split(prepared.split, staging.split)
        save_config(config, staging.config)
        _write_defects(staging, prepared)
        if prepared.grouping is not None:
            write_groups(prepared.grouping, staging.groups)
        create_sweep_run(run.path.name, config, _data_params(prepared), staging.config).save(staging.tracking)
        staging.path.chmod(0o755)
        staging.path.rename(run.path)
    except BaseException as error:
        shutil.rmtree(staging.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            run.path.parent.rmdir()  # Only if nothing else is in it.
        # Another sweep may have taken the name while this one was decoding.
        refuse_existing(run)
        if isinstance(error, OSError):
            raise ConfigError(
                f"runs_dir {str(run.path.parent)!r} can't be written ({error.strerror}): free space there, or give "
                "another folder"
            ) from None
        raise


def has_written_report(run: RunFolder) -> bool:
    """Return whether a sweep has written its report, so that nothing is left to resume."""
    return run.outbox.exists() and EventLog(Outbox(run.outbox)).finished


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
