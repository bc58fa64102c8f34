"""A sweep that is killed and resumed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import Workplace, logged_epochs, table, trial_runs
from tuning.training.checkpoint import read_manifest

pytestmark = pytest.mark.slow


def kill_in_the_second_trial(place: Workplace, name: str, *settings: str) -> Path:
    """Kill a sweep of three equal trials, found by Optuna, in the middle of its second trial; return its folder."""
    space = ["space.arch=c3d", "space.num_frames=8", "space.sampler=balanced", "train.epochs=6"]
    search = ["search.algorithm=optuna", "search.trials=3", "resources.max_concurrent=1"]
    run = place.folder / "runs" / name

    def trials_with_checkpoints() -> set[str]:
        return {file.parts[-3] for file in (run / "ray/trials").glob("*/checkpoint_*/checkpoint.json")}

    with place.start(place.sweep_command(name, *space, *search, *settings)) as sweep:
        # Once the second trial has a checkpoint, the first has ended and the second is in the middle.
        sweep.wait_for(lambda: len(trials_with_checkpoints()) == 2, "a checkpoint of the second trial")
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
    return run


@pytest.fixture(scope="module")
def resumed(place: Workplace) -> tuple[Path, dict[Path, int], str]:
    """A sweep that is killed, then resumed.

    Returns the run's folder, when each checkpoint was written that was there at the kill, and what was printed after.
    """
    run = kill_in_the_second_trial(place, "killed")
    before = {path: path.stat().st_mtime_ns for path in (run / "ray/trials").glob("*/*/checkpoint.json")}
    return run, before, succeeded(place.tuning("sweep", "--resume", "killed")).stdout


def test_resume_keeps_finished_trials(place: Workplace, resumed: tuple[Path, dict[Path, int], str]) -> None:
    run, before, output = resumed
    results = table(run)
    assert len(results) == 3
    assert set(results["status"]) == {"done"}
    assert set(results["epochs"]) == {6}
    first = min(before, key=lambda path: before[path]).parent.parent.name
    untouched = [path for path in before if path.parent.parent.name == first]
    assert all(path.stat().st_mtime_ns == before[path] for path in untouched), "the finished trial was run again"
    assert re.search(r"frame store: 0 clips decoded", output)
    for trial in results["id"]:
        figures = logged_epochs(place, "killed", trial)
        assert sorted({step for _, step in figures}) == [1, 2, 3, 4, 5, 6]
    assert (run / "test/metrics.json").is_file()


def test_killed_trial_ends_with_the_same_figures(place: Workplace, resumed: tuple[Path, dict[Path, int], str]) -> None:
    """Of the three one was undisturbed, one went on and one began after the kill: equal to the last figure."""
    undisturbed, *others = (logged_epochs(place, "killed", trial) for trial in table(resumed[0])["id"])
    assert len(others) == 2
    assert all(other == undisturbed for other in others)


def test_stopped_sweep_ends_with_the_trials_that_are_done(place: Workplace) -> None:
    run = kill_in_the_second_trial(place, "finished", "search.finalists={top: 1, seeds: 2}")
    output = succeeded(place.tuning("sweep", "--finish", "finished")).stdout
    # Tune may not have saved yet that the second trial started.
    assert re.search("finished ends with 1 of the (1 trial|2 trials) that started", output)
    results = table(run)
    assert sorted(results["status"]) in (["done"], ["done", "unfinished"])
    done = results.set_index("status").loc["done"]
    assert f"(trial {done['id']}, " in output
    assert read_manifest(run / "best").epoch == done["best_epoch"]
    assert (run / "test/metrics.json").is_file()
    assert (run / "report/index.html").is_file()
    statuses = {trial.data.tags["trial_id"]: trial.info.status for trial in trial_runs(place, "finished")}
    assert statuses.pop(done["id"]) == "FINISHED"
    assert set(statuses.values()) == {"KILLED"}

    assert "has ended" in succeeded(place.tuning("sweep", "--finish", "finished")).stdout
    refused = place.tuning("sweep", "--finish", "finished", "train.epochs=3")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: --finish uses the run's own settings: leave out train.epochs=3\n",
    )
