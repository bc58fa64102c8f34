"""A sweep that is killed and resumed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.helpers.processes import succeeded
from tests.helpers.sweep_runs import Workplace, logged_epochs, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def resumed(place: Workplace) -> tuple[Path, dict[Path, int], str]:
    """Optuna tries the one point of a space three times; in the second trial the sweep is killed, then resumed.

    Returns the run's folder, when each checkpoint was written that was there at the kill, and what was printed after.
    """
    space = ["space.arch=c3d", "space.num_frames=8", "space.sampler=balanced", "train.epochs=6"]
    search = ["search.algorithm=optuna", "search.trials=3", "resources.max_concurrent=1"]
    run = place.folder / "runs/killed"

    def trials_with_checkpoints() -> set[str]:
        return {file.parts[-3] for file in (run / "ray/trials").glob("*/checkpoint_*/checkpoint.json")}

    with place.start(place.sweep_command("killed", *space, *search)) as sweep:
        # Once the second trial has a checkpoint, the first has ended and the second is in the middle.
        sweep.wait_for(lambda: len(trials_with_checkpoints()) == 2, "a checkpoint of the second trial")
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
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
