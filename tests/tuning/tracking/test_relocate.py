"""The MLflow database of runs that were moved or copied."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking._tracking_service import utils as mlflow_utils

from tests.helpers.registered_models import finished_run
from tests.helpers.small_models import one_seed_one_thread
from tuning.__main__ import main
from tuning.config.load import save_config
from tuning.config.paths import change_paths
from tuning.config.run_folder import RunFolder
from tuning.config.schema.tracking import TrackingConfig
from tuning.errors import TuningError
from tuning.tracking.mlflow_setup import check_accepts_sweep
from tuning.tracking.mlflow_sweep import MlflowSweep
from tuning.tracking.outbox import Outbox
from tuning.tracking.relocate import needs_relocation, relocate
from tuning.tracking.server import TrackingError
from tuning.tracking.tracker import open_tracker

__all__ = ["one_seed_one_thread"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run in a database beside the runs."""
    return finished_run(tmp_path_factory.mktemp("place") / "project", database="runs/mlflow.db")


@pytest.fixture
def copy(original: RunFolder, tmp_path: Path) -> RunFolder:
    """The run in a copy of the project; the original is still there."""
    project = shutil.copytree(original.path.parents[1], tmp_path / "an other #place/project")
    return RunFolder(project / "runs" / original.path.name)


def as_written_here(run: RunFolder, original: RunFolder) -> None:
    """Make a copied run one that its sweep wrote where it is."""
    before, after = str(original.path.parents[1]), str(run.path.parents[1])
    config = change_paths(run.read_recorded_config(), lambda path: path.replace(before, after))
    save_config(config, run.config)
    run.tracking.write_text(run.tracking.read_text().replace(before, after))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def locations(run: RunFolder) -> set[str]:
    """Every artifact location in the database beside a run."""
    with closing(sqlite3.connect(run.path.parent / "mlflow.db")) as connection:
        queries = (
            "SELECT artifact_location FROM experiments",
            "SELECT artifact_uri FROM runs",
            "SELECT artifact_location FROM logged_models",
        )
        return {row[0] for query in queries for row in connection.execute(query)}


def send(run: RunFolder) -> str:
    """Log an event that writes artifacts, as in a process of its own; return why it is not sent."""
    # MLflow remembers for each run of a process where its artifacts are.
    mlflow_utils._artifact_repos_cache.clear()
    run.report.mkdir(exist_ok=True)
    (run.report / "index.html").write_text("page")
    with open_tracker(run) as tracker:
        tracker.events.log_report()
        # It is not waited for what will not change.
        return tracker.send(patience=600)


def test_copy_waits_for_relocate_and_then_writes_to_itself_alone(original: RunFolder, copy: RunFolder) -> None:
    before = contents(original.path.parents[1])
    database = copy.path.parent / "mlflow.db"
    unsent = send(copy)
    assert unsent.startswith("1 events of mlflow.jsonl are not sent to MLflow at sqlite:///")
    assert f"run: python -m tuning relocate --runs '{copy.path.parent}'" in unsent
    assert needs_relocation(database, copy.path.parent)
    done = relocate(copy.path.parent)
    assert (done.places, done.changed, done.left) == ((original.path.parent,), 2, ())
    assert not needs_relocation(database, copy.path.parent)
    assert relocate(copy.path.parent).changed == 0
    artifacts, default = copy.path.parent / "mlflow-artifacts", Path.cwd() / "mlruns/0"
    assert {name for name in locations(copy) if not name.startswith(artifacts.as_uri())} <= {str(default)}
    assert send(copy) == ""
    assert list(artifacts.glob("*/artifacts/report/index.html"))
    assert contents(original.path.parents[1]) == before


def test_runs_that_are_moved_again_write_nothing_where_they_were(copy: RunFolder, tmp_path: Path) -> None:
    first, second = copy.path.parents[1], tmp_path / "moved"
    relocate(first / "runs")
    assert send(copy) == ""
    run = RunFolder(first.rename(second) / "runs" / copy.path.name)
    # The settings name the place of the sweep, the database the one in between.
    assert f"run: python -m tuning relocate --runs {second}/runs)" in send(run)
    assert relocate(second / "runs").places == (first / "runs",)
    assert send(run) == ""
    assert not first.exists()


def test_run_moved_away_from_its_database_still_writes_to_it(original: RunFolder, copy: RunFolder) -> None:
    relocate(copy.path.parent)
    as_written_here(copy, original)
    archive = copy.path.parent / "archive"
    archive.mkdir()
    assert send(RunFolder(copy.path.rename(archive / copy.path.name))) == ""


def test_copy_of_a_run_alone_does_not_write_to_the_database_of_the_original(
    original: RunFolder, tmp_path: Path
) -> None:
    before = contents(original.path.parents[1])
    run = RunFolder(shutil.copytree(original.path, tmp_path / "runs" / original.path.name))
    assert "the run is a copy, and the records of the original stay as they are" in send(run)
    assert contents(original.path.parents[1]) == before
    assert not (tmp_path / "runs/mlflow.db").exists()


def test_new_sweep_waits_for_relocate(copy: RunFolder, original: RunFolder) -> None:
    runs = copy.path.parent
    with pytest.raises(TrackingError, match="a sweep would write there; run: python -m tuning relocate"):
        check_accepts_sweep(TrackingConfig(), runs)
    relocate(runs)
    assert check_accepts_sweep(TrackingConfig(), runs) == runs / "mlflow-artifacts"


def test_database_elsewhere_is_found_by_the_settings_of_the_runs(original: RunFolder, copy: RunFolder) -> None:
    relocate(copy.path.parent)
    database = (copy.path.parent / "mlflow.db").rename(copy.path.parents[1] / "records.db")
    as_written_here(copy, original)
    sweep = MlflowSweep.load(copy.tracking)
    replace(sweep, uri=f"sqlite:///{database}").save(copy.tracking)
    run = RunFolder(copy.path.parent.rename(copy.path.parents[1] / "results") / copy.path.name)
    assert f"relocate --runs '{run.path.parent}'" in send(run)
    assert relocate(run.path.parent).changed == 2
    assert send(run) == ""
    assert not copy.path.parent.exists()


def test_database_that_a_copy_shares_with_the_original_is_not_changed(
    original: RunFolder, copy: RunFolder, tmp_path: Path
) -> None:
    database = (copy.path.parent / "mlflow.db").rename(tmp_path / "shared.db")
    as_written_here(copy, original)
    replace(MlflowSweep.load(copy.tracking), uri=f"sqlite:///{database}").save(copy.tracking)
    again = RunFolder(shutil.copytree(copy.path.parent, tmp_path / "again/runs") / copy.path.name)
    before = database.read_bytes()
    with pytest.raises(TrackingError, match="no mlflow.db in"):
        relocate(again.path.parent)
    assert "the run is a copy" in send(again)
    assert database.read_bytes() == before


def test_database_that_is_gone_is_not_created_again(original: RunFolder, copy: RunFolder) -> None:
    database = copy.path.parent / "mlflow.db"
    database.unlink()
    as_written_here(copy, original)
    assert "there is no such database" in send(copy)
    assert not database.exists()


def test_database_of_other_runs_at_the_new_place_is_not_taken_for_the_runs(copy: RunFolder) -> None:
    sweep = MlflowSweep.load(copy.tracking)
    replace(sweep, parent_run_id="0" * 32).save(copy.tracking)
    before = contents(copy.path.parent / "mlflow-artifacts")
    assert "this database does not have the run" in send(copy)
    assert contents(copy.path.parent / "mlflow-artifacts") == before


def test_only_records_of_artifacts_that_moved_are_changed(original: RunFolder, copy: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "disk/mlflow-artifacts").mkdir(parents=True)
    elsewhere = (tmp_path / "disk/mlflow-artifacts").as_uri()
    left = original.path.parent / "mlflow-artifacts/models/m-1/artifacts"
    left.mkdir(parents=True)
    columns = (
        "model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status"
    )
    with closing(sqlite3.connect(copy.path.parent / "mlflow.db")) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", (elsewhere,))
        row = ("m-1", 1, "model", left.as_uri(), 0, 0, 1)
        connection.execute(f"INSERT INTO logged_models ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    assert relocate(copy.path.parent).left == (left,)
    assert {elsewhere, left.as_uri()} <= locations(copy)


def test_database_in_use_is_refused_and_unchanged(copy: RunFolder) -> None:
    before = locations(copy)
    with Outbox(copy.outbox).lock(), pytest.raises(TuningError, match="another process works on the run"):
        relocate(copy.path.parent)
    with closing(sqlite3.connect(copy.path.parent / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match=r"database is locked.*: end every process that uses it"):
            relocate(copy.path.parent, seconds_to_wait=0.1)
    assert locations(copy) == before


def test_command_says_what_it_did(
    original: RunFolder, copy: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy.path.parents[1])
    assert main(["relocate"]) == 0
    assert capsys.readouterr().out == f"2 records of artifacts changed from {str(original.path.parent)!r} to 'runs'\n"
    assert main(["relocate", "--runs", "runs"]) == 0
    assert capsys.readouterr().out == "nothing to do: the artifacts are where they are recorded\n"
    assert main(["relocate", "--runs", "clips"]) == 2
    assert capsys.readouterr().err.startswith("error: no mlflow.db in 'clips': give --runs DIR, ")
    Path("clips/mlflow.db").write_text("no database")
    assert main(["relocate", "--runs", "clips"]) == 2
    assert "(file is not a database): " in capsys.readouterr().err
