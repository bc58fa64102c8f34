"""Correct the records of artifacts in the database of a folder of runs that was moved or copied."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from tuning.config.move import Move
from tuning.config.run_folder import RunFolder
from tuning.tracking.local_database import DATABASE, former_places, local_path, present_database
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.outbox import Outbox
from tuning.tracking.server import TrackingError, database_file

_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns in which MLflow keeps where artifacts are. A model's source is a location or another model."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """What was changed in a database."""

    places: tuple[Path, ...]
    """The folders in which the runs were before."""
    changed: int
    """Records that point to the present folder now."""
    left: tuple[Path, ...]
    """Artifacts that are only where they were, and to which records still point."""


def relocate(runs_dir: Path, seconds_to_wait: float = 5.0) -> Relocation:
    """Make the records of artifacts in the database of runs point to the folder in which the runs are, all or none.

    Only records of artifacts below the folder that was moved are changed, and not those of artifacts that are still
    there and not here. Parameters and the clips' dataset stay: they say how a run was made.

    Args:
        runs_dir: the folder of the runs.
        seconds_to_wait: how long to wait for another process that uses the database.

    Raises:
        OutboxLocked: a process works on one of the runs.
        TrackingError: there is no such database, or it can't be written or is in use.
    """
    place = Path(os.path.abspath(runs_dir))
    runs = [RunFolder(file.parent) for file in sorted(place.glob("*/mlflow.json"))]
    database = _find_database(place, runs)
    if database is None:
        raise TrackingError(
            f"no {DATABASE} in {str(runs_dir)!r}: give --runs DIR, the folder of the runs (those that a server records "
            "need no relocation)"
        )
    try:
        with ExitStack() as locks:
            for run in runs:
                locks.enter_context(Outbox(run.outbox).lock())
            return _relocate(database, place, seconds_to_wait)
    except (sqlite3.Error, OSError) as error:
        raise TrackingError(
            f"{database} can't be changed ({error}): end every process that uses it, such as a sweep or the MLflow UI, "
            "and check that it is an MLflow database that you may write"
        ) from None


def _find_database(runs_dir: Path, runs: Sequence[RunFolder]) -> Path | None:
    """Return the database beside the runs or, if there is none, the one that their settings named."""
    if (runs_dir / DATABASE).is_file():
        return runs_dir / DATABASE
    for run in runs:
        recorded = database_file(MlflowSweep.load(run.tracking).uri)
        database = None if recorded is None else present_database(run, recorded)
        if database is not None and database.is_file():
            return database
    return None


def _relocate(database: Path, runs_dir: Path, seconds_to_wait: float) -> Relocation:
    places = former_places(database, runs_dir, seconds_to_wait)
    moves = [move for place in places if (move := Move.between(place, runs_dir)) is not None]
    changed, left = 0, list[Path]()
    with closing(sqlite3.connect(database, timeout=seconds_to_wait, isolation_level=None)) as connection:
        # Closing the connection before the commit undoes everything.
        connection.execute("BEGIN EXCLUSIVE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, column in _LOCATIONS:
            if table not in tables:
                continue
            rows = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
            for location, old, new in _moved_locations([text for (text,) in rows], moves):
                if os.path.exists(old) and not os.path.exists(new):
                    left.append(old)
                    continue
                text = new.as_uri() if location.startswith("file:") else str(new)
                update = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
                changed += connection.execute(update, (text, location)).rowcount
        connection.execute("COMMIT")
    return Relocation(tuple(places), changed, tuple(left))


def _moved_locations(locations: Sequence[str], moves: Sequence[Move]) -> Iterator[tuple[str, Path, Path]]:
    """Yield each location below a folder that was moved, with its path before and after the move."""
    for location in locations:
        old = local_path(location)
        new = next((path for move in moves if old is not None and (path := move.apply(old)) != old), None)
        if old is not None and new is not None:
            yield location, old, new


def needs_relocation(database: Path, runs_dir: Path) -> bool:
    """Whether a database records artifacts where they were before the runs were moved or copied to a folder."""
    try:
        return bool(former_places(database, runs_dir))
    except sqlite3.Error:
        return False
