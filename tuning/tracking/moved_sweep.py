"""Where the MLflow records of a run are now, and whether they may be written there."""

from __future__ import annotations

import shlex
import sqlite3
from dataclasses import replace
from pathlib import Path

from tuning.config.move import is_same_path
from tuning.config.run_folder import RunFolder
from tuning.tracking.local_database import ARTIFACTS, artifact_folder, database_uri, present_database
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.server import database_file


def load_sweep(run: RunFolder) -> tuple[MlflowSweep, str]:
    """Return where a run is in MLflow, and why nothing may be written there, in one line; empty if it may.

    A server is where it was. An SQLite database is opened at its new place if it was moved with the run. It is not
    created if it is gone, and it is not written if that would write to what the run was copied from, or into the
    folder from which the artifacts were moved.
    """
    sweep = MlflowSweep.load(run.tracking)
    recorded = database_file(sweep.uri)
    if recorded is None:
        return sweep, ""
    database = present_database(run, recorded)
    if database is None:
        return sweep, "the run is a copy, and the records of the original stay as they are"
    if database != recorded:
        sweep = replace(sweep, uri=database_uri(database))
    return sweep, _why_not_writable(database, sweep.parent_run_id, run, moved=database != recorded)


def _why_not_writable(database: Path, run_id: str, run: RunFolder, *, moved: bool) -> str:
    if not database.is_file():
        return "there is no such database"
    try:
        artifacts = artifact_folder(database, run_id)
    except LookupError:
        return "this database does not have the run"
    except sqlite3.Error as error:
        # MLflow says what is wrong with a database that is where it was, and may get through later.
        return f"it can't be read: {error}" if moved else ""
    here = (run.path.parent / ARTIFACTS, database.parent / ARTIFACTS)
    if artifacts is None or any(is_same_path(artifacts, folder) for folder in here):
        return ""
    if not moved and artifacts.is_dir():
        return ""
    remedy = f"python -m tuning relocate --runs {shlex.quote(str(run.path.parent))}"
    return f"its artifacts are recorded in {str(artifacts)!r}, from where the run was moved or copied; run: {remedy}"
