"""The SQLite database beside the runs, read without MLflow: where it is, and where its artifacts are recorded."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tuning.config.move import is_same_path
from tuning.config.run_folder import RunFolder

DATABASE = "mlflow.db"
"""Name of the database in the folder of the runs."""
ARTIFACTS = "mlflow-artifacts"
"""Name of the folder of artifacts in the folder of the runs."""


def database_uri(file: Path) -> str:
    """Return the address of an SQLite database."""
    path = str(file)
    if "%" not in path and "?" not in path:
        return f"sqlite:///{path}"
    # SQLAlchemy decodes the path. With the plain `sqlite:` MLflow would create a folder of the encoded name.
    return f"sqlite+pysqlite:///{path.replace('%', '%25').replace('?', '%3F')}"


def local_path(location: str) -> Path | None:
    """Return the path of an artifact location; None if it is not on a local disk."""
    if location.startswith("file:"):
        return Path(unquote(urlsplit(location).path))
    return Path(location) if location.startswith("/") else None


def present_database(run: RunFolder, recorded: Path) -> Path | None:
    """Return where the database of a run is now; None if the run is a copy without a database of its own.

    Args:
        run: the run.
        recorded: where the database was when the sweep started.
    """
    move = run.find_move()
    if move is None:
        return recorded
    moved = move.apply(recorded)
    if os.path.exists(move.undo(run.path) / run.config.name):
        return moved if moved != recorded and moved.is_file() else None
    # A run that was moved alone was moved away from its database.
    return moved if moved.is_file() else recorded


def artifact_folder(database: Path, run_id: str) -> Path | None:
    """Return the folder with the artifacts of an MLflow run's experiment; None if they are not on a local disk.

    Raises:
        LookupError: the database does not have the run.
        sqlite3.Error: it can't be read.
    """
    with closing(_open_for_reading(database)) as connection:
        row = connection.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    if row is None:
        raise LookupError(run_id)
    # ARTIFACTS/RUN_ID/artifacts
    path = local_path(row[0])
    return None if path is None else path.parent.parent


def former_places(database: Path, runs_dir: Path, seconds_to_wait: float = 5.0) -> list[Path]:
    """Return the folders from which the runs of a folder were moved or copied, by the records of their database.

    The database may have artifacts of other folders of runs too: a former place is one whose artifacts are here now, or
    one that is gone and that a run here names.

    Args:
        database: the file.
        runs_dir: the folder in which the runs are now.
        seconds_to_wait: how long to wait for another process that writes to it.

    Raises:
        sqlite3.Error: it can't be read.
    """
    with closing(_open_for_reading(database, seconds_to_wait)) as connection:
        experiments = connection.execute("SELECT DISTINCT artifact_location FROM experiments ORDER BY 1").fetchall()
        runs = connection.execute("SELECT artifact_uri FROM runs").fetchall()
    folders, of_runs = (
        [path for (location,) in rows if location and (path := local_path(location)) is not None]
        for rows in (experiments, runs)
    )
    here, named = runs_dir / ARTIFACTS, _places_in_settings(runs_dir)
    found = []
    for folder in folders:
        if folder.name != ARTIFACTS or is_same_path(folder, here):
            continue
        below = [path.relative_to(folder) for path in of_runs if path.is_relative_to(folder)]
        gone = not os.path.exists(folder) and folder.parent in named
        if gone or any(os.path.exists(here / path) for path in below):
            found.append(folder.parent)
    return found


def _places_in_settings(runs_dir: Path) -> set[Path]:
    """Return the folders in which the runs of a folder were when their sweeps ran, if that was elsewhere."""
    runs = [RunFolder(file.parent) for file in runs_dir.glob("*/config.yaml")]
    return {move.undo(run.path).parent for run in runs if (move := run.find_move()) is not None}


def database_problem(database: Path) -> str:
    """Return why a file is not MLflow's database; empty if it is, is empty, or does not exist yet."""
    if not os.path.exists(database):
        return ""
    if not database.is_file():
        return "is not a file"
    try:
        with closing(_open_for_reading(database)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError:
        return ""  # Another process writes to it.
    except sqlite3.DatabaseError:
        return "is not a database"
    return "is a database of something else than MLflow" if tables and "alembic_version" not in tables else ""


def _open_for_reading(database: Path, seconds_to_wait: float = 5.0) -> sqlite3.Connection:
    # Not as read-only: SQLite could not undo then what a killed process left half-written. It is never created.
    return sqlite3.connect(f"file:{quote(str(database.absolute()))}?mode=rw", timeout=seconds_to_wait, uri=True)
