"""Where the files of one run lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuning.config.load import load_config
from tuning.config.schema import ConfigError
from tuning.config.sweep_config import SweepConfig


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths under `runs/NAME/`; `path` is absolute."""

    path: Path

    @property
    def config(self) -> Path:
        """All settings, as used."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """Which clip stands in which split."""
        return self.path / "split.csv"

    @property
    def defects(self) -> Path:
        """What is wrong or suspect about clips, and whether they are used all the same."""
        return self.path / "defects.csv"

    @property
    def groups(self) -> Path:
        """The groups that were found from the pictures, where none were given."""
        return self.path / "groups.csv"

    @property
    def demand(self) -> Path:
        """What its trials were measured to need."""
        return self.path / "demand.json"

    @property
    def results(self) -> Path:
        """A row a trial."""
        return self.path / "results.csv"

    @property
    def best(self) -> Path:
        """The champion's checkpoint."""
        return self.path / "best"

    @property
    def test(self) -> Path:
        """The test report."""
        return self.path / "test"

    @property
    def test_log(self) -> Path:
        """A line for each time that the test split was used."""
        return self.path / "test_log.jsonl"

    @property
    def report(self) -> Path:
        """The page, and the figures of each of its plots."""
        return self.path / "report"

    @property
    def made(self) -> Path:
        """How the run was made: commands, machine, versions, seconds."""
        return self.path / "made.json"

    @property
    def tracking(self) -> Path:
        """Which MLflow runs belong to this run."""
        return self.path / "mlflow.json"

    @property
    def spool(self) -> Path:
        """What is told to MLflow, entry by entry; beside it how much was sent."""
        return self.path / "mlflow.jsonl"

    @property
    def checkpoints(self) -> Path:
        """A folder of checkpoints a trial."""
        return self.path / "ray" / "trials"

    @property
    def tuner(self) -> Path:
        """What Tune needs to go on with the search after a kill."""
        return self.path / "ray" / "tune"

    @property
    def finals(self) -> Path:
        """The same for the finalists."""
        return self.path / "ray" / "finals"

    @property
    def named(self) -> str:
        """How a command names it from the current directory: its name alone under `runs/`, else its path."""
        return self.path.name if self.path == Path("runs").absolute() / self.path.name else str(self.path)

    def read_config(self) -> SweepConfig:
        """The settings of this run.

        Raises:
            ConfigError: they are missing or damaged.
        """
        return load_config(self.config)


def find_run(name: str) -> RunFolder:
    """A run by its folder, or by its name under `runs/`.

    Raises:
        ConfigError: there is none.
    """
    # One that is named with its folder is looked for there alone.
    folders = [Path(name)] if len(Path(name).parts) > 1 else [Path(name), Path("runs", name)]
    for folder in folders:
        if (folder / "config.yaml").is_file():
            return RunFolder(folder.absolute())
    where = " nor ".join(str(folder / "config.yaml") for folder in folders)
    raise ConfigError(f"no run {name!r}: {'neither ' if len(folders) > 1 else 'no '}{where} is there")
