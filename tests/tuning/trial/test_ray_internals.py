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

from tests.helpers.processes import PROJECT, succeeded
from tuning.cluster.connect import connected
from tuning.trial.driver import trial_resources
from tuning.trial.ray_internals import InProcessReportCallback, MultiWorkerTorchConfig, ReusingTorchTrainer
from tuning.trial.spec import Slot
from tuning.trial.stop import TrialStopped, clear_stop_request, until_stopped

pytestmark = pytest.mark.slow

OUTCOMES = ("done", "stopped", "done", "failed", "done")
"""How the trials end, one after another."""


def _train(payload: dict[str, Any]) -> None:
    clear_stop_request()
    try:
        for epoch in until_stopped(range(1, 4 if payload["outcome"] != "stopped" else 1000)):
            if payload["outcome"] == "failed":
                raise RuntimeError("failed on purpose")
            train.report({"epoch": epoch, "pid": os.getpid()})
            time.sleep(0.05)
    except TrialStopped:
        pass


def _run_trial(choice: dict[str, Any], folder: str) -> None:
    trial_id = tune.get_context().get_trial_id()
    ReusingTorchTrainer(
        _train,
        train_loop_config={"outcome": OUTCOMES[choice["number"]]},
        torch_config=MultiWorkerTorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name=trial_id, storage_path=folder, callbacks=[InProcessReportCallback()]),
    ).fit()


class _StopAtEpochTwo(tune.Stopper):
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return OUTCOMES[result["config"]["number"]] == "stopped" and result["epoch"] >= 2

    def stop_all(self) -> bool:
        return False


def run_trials(folder: str) -> None:
    """Run the trials one after another on a local Ray; write `trials.json` into the folder."""
    with connected(None, verbose=False):
        trainable = tune.with_parameters(_run_trial, folder=folder)
        results = tune.Tuner(
            tune.with_resources(trainable, trial_resources(Slot(workers=1, cpus=1, gpus=0))),
            param_space={"number": tune.grid_search(list(range(len(OUTCOMES))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
            run_config=tune.RunConfig(name="tune", storage_path=folder, stop=_StopAtEpochTwo(), verbose=0),
        ).fit()
        # Removal takes a moment after a trial has ended; the test fails on groups that are left after that.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _placement_group_states():
            time.sleep(0.2)
        left = _placement_group_states()
    trials = [
        {"pid": each.metrics.get("pid"), "epoch": each.metrics.get("epoch"), "error": str(each.error or "")}
        for each in sorted(results, key=lambda each: each.config["number"])
    ]
    Path(folder, "trials.json").write_text(json.dumps({"trials": trials, "placement_groups": left}))


def _placement_group_states() -> list[str]:
    return [group["state"] for group in placement_group_table().values() if group["state"] != "REMOVED"]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Pid, last epoch and error of each trial, and the states of the placement groups left after all have ended."""
    folder = tmp_path_factory.mktemp("reuse")
    code = f"from tests.tuning.trial.test_ray_internals import run_trials; run_trials({str(folder)!r})"
    # A process of its own: Ray decides once, when it is imported, whether it uses tokens.
    succeeded(subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False))
    return json.loads((folder / "trials.json").read_text())


def pids(outcome: dict[str, Any]) -> list[int]:
    return [trial["pid"] for trial in outcome["trials"]]


def test_next_trial_trains_in_the_process_of_the_one_before(outcome: dict[str, Any]) -> None:
    first, second, *_ = pids(outcome)
    assert first == second


def test_process_of_a_stopped_trial_is_reused(outcome: dict[str, Any]) -> None:
    assert [trial["epoch"] for trial in outcome["trials"][:3]] == [3, 2, 3]
    _, second, third, *_ = pids(outcome)
    assert second == third


def test_process_of_a_failed_trial_is_not_reused(outcome: dict[str, Any]) -> None:
    assert "failed on purpose" in outcome["trials"][3]["error"]
    *_, third, _, last = pids(outcome)
    assert last not in (None, third)


def test_no_placement_group_is_left_after_all_trials(outcome: dict[str, Any]) -> None:
    assert outcome["placement_groups"] == []
