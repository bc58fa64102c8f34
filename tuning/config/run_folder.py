"""The paths in a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuning.config.load import load_run_config
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError


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
        """The shortest name that a command accepts in the current directory: NAME under `runs/`, else the path."""
        return self.path.name if self.path == Path("runs").absolute() / self.path.name else str(self.path)

    def read_config(self) -> SweepConfig:
        """Read the settings of the sweep.

        Raises:
            ConfigError: the file is missing or damaged, or a setting is no longer supported.
        """
        return load_run_config(self.config)


def find_run(name: str) -> RunFolder:
    """Return the run folder with this path, or with this name under `runs/`.

    Raises:
        ConfigError: there is no such run.
    """
    # A name with several parts is a path and is not looked up under `runs/`.
    folders = [Path(name)] if len(Path(name).parts) > 1 else [Path(name), Path("runs", name)]
    for folder in folders:
        if (folder / "config.yaml").is_file():
            return RunFolder(folder.absolute())
    files = " and no ".join(str(folder / "config.yaml") for folder in folders)
    raise ConfigError(f"no run {name!r}: no {files}; give a name under runs/ or the path of a run folder")


def refuse_existing(run: RunFolder) -> None:
    """Refuse a run folder that exists: two sweeps in one folder would mix their results.

    Raises:
        ConfigError: the folder exists.
    """
    if run.path.exists():
        raise ConfigError(
            f"run {run.path.name!r} exists ({run.path}): resume it with --resume {run.cli_name}, or give another --name"
        )
