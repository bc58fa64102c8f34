"""Which process trains which trial, on real Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ray import train, tune
from ray.train import RunConfig, ScalingConfig
from ray.util import placement_group_table

from tests.helpers.sweep_runs import PROJECT, succeeded
from tuning.cluster.connect import connected
from tuning.trial.driver import placement
from tuning.trial.ray_internals import GroupOfSeveral, ReportToTune, TrialTrainer
from tuning.trial.spec import Slot
from tuning.trial.stop import Stopped, begin, until_asked

pytestmark = pytest.mark.slow

ENDS = ("done", "stopped", "done", "failed", "done")
"""How the trials end, one after another."""


def _epochs(payload: dict[str, Any]) -> None:
    begin()
    try:
        for epoch in until_asked(range(1, 4 if payload["ends"] != "stopped" else 1000)):
            if payload["ends"] == "failed":
                raise RuntimeError("as it was told")
            train.report({"epoch": epoch, "pid": os.getpid()})
            time.sleep(0.05)
    except Stopped:
        pass


def _trial(choice: dict[str, Any], folder: str) -> None:
    TrialTrainer(
        _epochs,
        train_loop_config={"ends": ENDS[choice["number"]]},
        torch_config=GroupOfSeveral(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name=tune.get_context().get_trial_id(), storage_path=folder, callbacks=[ReportToTune()]),
    ).fit()


class _StopAtTwo(tune.Stopper):
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return ENDS[result["config"]["number"]] == "stopped" and result["epoch"] >= 2

    def stop_all(self) -> bool:
        return False


def run(folder: str) -> None:
    """The trials, one after another on a Ray of their own; leaves `seen.json` in the folder."""
    with connected(None, verbose=False):
        trainable = tune.with_parameters(_trial, folder=folder)
        results = tune.Tuner(
            tune.with_resources(trainable, placement(Slot(workers=1, cpus=1, gpus=0))),
            param_space={"number": tune.grid_search(list(range(len(ENDS))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
            run_config=tune.RunConfig(name="tune", storage_path=folder, stop=_StopAtTwo(), verbose=0),
        ).fit()
        deadline = time.monotonic() + 60
        while held := [each["state"] for each in placement_group_table().values() if each["state"] != "REMOVED"]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
    trials = [
        {"pid": each.metrics.get("pid"), "epoch": each.metrics.get("epoch"), "error": str(each.error or "")}
        for each in sorted(results, key=lambda each: each.config["number"])
    ]
    Path(folder, "seen.json").write_text(json.dumps({"trials": trials, "held": held}))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each trial, and the states of the places that are held once all have ended."""
    folder = tmp_path_factory.mktemp("kept")
    command = [sys.executable, "-c", f"from tests.tuning.trial.test_ray_internals import run; run({str(folder)!r})"]
    # Whether tokens are in use Ray asks once a process, when it is imported.
    succeeded(subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False))
    return json.loads((folder / "seen.json").read_text())


def pids(seen: dict[str, Any]) -> list[int]:
    return [trial["pid"] for trial in seen["trials"]]


def test_a_trial_goes_on_in_the_process_of_the_one_before(seen: dict[str, Any]) -> None:
    first, second, *_ = pids(seen)
    assert first == second


def test_so_it_does_after_one_that_was_stopped(seen: dict[str, Any]) -> None:
    assert [trial["epoch"] for trial in seen["trials"][:3]] == [3, 2, 3]
    _, second, third, *_ = pids(seen)
    assert second == third


def test_after_one_that_failed_the_process_is_new(seen: dict[str, Any]) -> None:
    assert "as it was told" in seen["trials"][3]["error"]
    *_, third, _, last = pids(seen)
    assert last not in (None, third)


def test_nothing_is_held_once_all_have_ended(seen: dict[str, Any]) -> None:
    assert seen["held"] == []
