"""The paths in a run folder, and how a run is found by its name."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher
from pathlib import Path

import yaml

from tuning.config.load import load_run_config
from tuning.config.move import Move, present_paths
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError

LATEST = "latest"
"""Stands for the newest run, unless a run has this name."""

_MAX_NAMED = 5
"""Runs that a message names."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder `runs/NAME/` of one sweep."""

    path: Path
    """Absolute path of the folder."""

    @property
    def config(self) -> Path:
        """All settings of the sweep, including defaults."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """The split and the group of each clip."""
        return self.path / "split.csv"

    @property
    def defects(self) -> Path:
        """Defects of clips, and whether each clip is used."""
        return self.path / "defects.csv"

    @property
    def groups(self) -> Path:
        """Groups that `data.groups=auto` found."""
        return self.path / "groups.csv"

    @property
    def profile(self) -> Path:
        """Memory and time that the trials need, as profiled before the sweep."""
        return self.path / "demand.json"

    @property
    def results(self) -> Path:
        """The leaderboard, one row per trial."""
        return self.path / "results.csv"

    @property
    def best(self) -> Path:
        """The champion's checkpoint."""
        return self.path / "best"

    @property
    def test(self) -> Path:
        """The champion's scores on the test split."""
        return self.path / "test"

    @property
    def usage_log(self) -> Path:
        """One line per use of the test split."""
        return self.path / "test_log.jsonl"

    @property
    def report(self) -> Path:
        """The HTML report and the data of its plots."""
        return self.path / "report"

    @property
    def provenance(self) -> Path:
        """The processes that worked on the run: command, machine, versions, seconds."""
        return self.path / "made.json"

    @property
    def tracking(self) -> Path:
        """Ids of the MLflow experiment and run."""
        return self.path / "mlflow.json"

    @property
    def outbox(self) -> Path:
        """Events for MLflow, one per line."""
        return self.path / "mlflow.jsonl"

    @property
    def checkpoints(self) -> Path:
        """One folder of checkpoints per trial."""
        return self.path / "ray" / "trials"

    @property
    def search_state(self) -> Path:
        """Tune's state of the search, from which a killed sweep resumes."""
        return self.path / "ray" / "tune"

    @property
    def finals_state(self) -> Path:
        """Tune's state of the finalists' trials."""
        return self.path / "ray" / "finals"

    @property
    def cli_name(self) -> str:
        """The shortest name that can be typed in the current directory: NAME under `runs/`, else the path, quoted."""
        in_runs = self.path == Path("runs").absolute() / self.path.name
        return shlex.quote(self.path.name if in_runs else str(self.path))

    def read_config(self) -> SweepConfig:
        """Read the settings of the sweep, with all paths as they are now if the run was moved or copied.

        Raises:
            ConfigError: the file is missing or damaged, or a setting is no longer supported.
        """
        config, move = self.read_recorded_config(), self.find_move()
        return config if move is None else present_paths(config, move, self.path, self.split)

    def read_recorded_config(self) -> SweepConfig:
        """Read the settings of the sweep as it wrote them.

        Raises:
            ConfigError: as for `read_config`.
        """
        return load_run_config(self.config)

    def find_move(self) -> Move | None:
        """Return the move that brought the folder here from where its sweep wrote it; None if it is still there."""
        try:
            settings = yaml.safe_load(self.config.read_text(encoding="utf-8"))
            recorded = Path(settings["runs_dir"], settings["name"])
        except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
            return None
        return Move.between(recorded, self.path)


def find_run(name: str) -> RunFolder:
    """Return the run folder with this path, or with this name under `runs/`.

    `latest`, alone or after a folder, is the newest run there. Its name is printed to stderr.

    Raises:
        ConfigError: there is no such run; the message names those that are there.
    """
    # A name with several parts is a path and is not looked up under `runs/`.
    folders = [Path(name)] if len(Path(name).parts) > 1 else [Path(name), Path("runs", name)]
    for folder in folders:
        if (folder / "config.yaml").is_file():
            return RunFolder(folder.absolute())
    runs = [run for folder in folders for run in _runs_in(folder.parent)]
    if runs and folders[0].name == LATEST:
        newest = max(runs, key=_last_worked_on)
        print(f"latest run: {newest.cli_name}", file=sys.stderr, flush=True)
        return newest
    files = " and no ".join(str(folder / "config.yaml") for folder in folders)
    raise ConfigError(f"no run {name!r}: no {files}; {_existing_runs(folders[0].name, runs)}")


def _runs_in(folder: Path) -> list[RunFolder]:
    """Return the runs in a folder, without those that are being created."""
    configs = [file for file in folder.absolute().glob("*/config.yaml") if not file.parent.name.startswith(".")]
    return [run for run in map(RunFolder, sorted(file.parent for file in configs)) if run.split.is_file()]


def _last_worked_on(run: RunFolder) -> tuple[float, float]:
    """Return when the last sweep that worked on a run started, in seconds since 1970.

    It is read from the run itself: the times of files are not kept when a project is copied.
    """
    created = run.config.stat().st_mtime
    try:
        started = datetime.fromisoformat(json.loads(run.provenance.read_text())[-1]["started"]).timestamp()
    except (OSError, ValueError, LookupError, TypeError):
        started = created
    return started, created


def _existing_runs(name: str, runs: Sequence[RunFolder]) -> str:
    """Return which runs can be given instead, those with the most similar names first."""
    if not runs:
        return "give a name under runs/ or the path of a run folder"
    nearest = sorted(runs, key=lambda run: SequenceMatcher(None, name, run.path.name).ratio(), reverse=True)
    named = ", ".join(run.cli_name for run in nearest[:_MAX_NAMED])
    more = f" and {len(runs) - _MAX_NAMED} more" if len(runs) > _MAX_NAMED else ""
    return f"give one of {named}{more}, or {LATEST}"


def refuse_existing(run: RunFolder) -> None:
    """Refuse a run folder that exists: two sweeps in one folder would mix their results.

    Raises:
        ConfigError: the folder exists.
    """
    if run.path.exists():
        raise ConfigError(
            f"run {run.path.name!r} exists ({run.path}): resume it with --resume {run.cli_name}, or give another --name"
        )
