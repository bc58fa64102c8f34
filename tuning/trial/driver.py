"""One trial: the driver function that Tune runs, which trains by a `TorchTrainer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ray.tune
from ray.train import (
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.tune import PlacementGroupFactory

from tuning.config.sweep_config import TrialConfig
from tuning.errors import last_line
from tuning.trial.ray_internals import GroupOfSeveral, ReportToTune, TrialTrainer
from tuning.trial.spec import DRIVER_MEMORY, Slot, TrialJob

# A dead process (spot node, out-of-memory killer) is worth new tries from the last checkpoint: of workers so many
# without a new one; a driver does nothing that could kill it and is lost with its node, which may be more often.
WORKER_RESTARTS = 3
DRIVER_RESTARTS = 10

# A driver waits for its workers and computes nothing: a share of a CPU would keep a worker off a full machine.
_OF_DRIVER = {"memory": DRIVER_MEMORY}


def placement(slot: Slot) -> PlacementGroupFactory:
    """What Tune sets aside for a trial: its driver's part first, then one for each worker."""
    return PlacementGroupFactory([_OF_DRIVER, *([slot.of_worker] * slot.workers)])


def run_trial(choice: dict[str, Any], job: TrialJob) -> None:
    """Train one trial; Tune calls this in a process of its own.

    Args:
        choice: one value of each axis of the space.
        job: what all trials of the sweep share.
    """
    trial = TrialConfig.choose(job.sweep, choice)
    try:
        _fit(job, trial)
    except TrainingFailedError as error:
        _report_failed(trial, error)


def _fit(shared: TrialJob, trial: TrialConfig) -> None:
    """Train, as long as a trial whose workers are lost again and again gets on."""
    folder = _folder(shared)
    while True:
        before = sorted(folder.glob("checkpoint_*/"))
        try:
            _trainer(shared, trial).fit()
            return
        except TrainingFailedError:
            if sorted(folder.glob("checkpoint_*/")) == before:
                raise


def _report_failed(trial: TrialConfig, error: TrainingFailedError) -> None:
    """The trial's end: raised, it would make Tune try the whole trial again, as if its driver had been lost."""
    failures = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else []
    reason = last_line(str(failures[0] if failures else error))
    # Tune's scheduler needs numbers: 0 is the worst that the metric can be.
    ray.tune.report({"epoch": 0, "status": "error", "reason": reason, trial.metric: 0.0, "seconds": 0.0})


def _folder(shared: TrialJob) -> Path:
    """Of its checkpoints; named by the trial, never by time: a restarted driver then finds them."""
    return Path(shared.checkpoints, ray.tune.get_context().get_trial_id())


def _trainer(shared: TrialJob, trial: TrialConfig) -> TrialTrainer:
    slot = shared.slot
    folder = _folder(shared)
    mend_snapshot(folder)
    return TrialTrainer(
        train_worker,
        train_loop_config={
            "trial": trial,
            "data": shared.data,
            "cpus": slot.cpus,
            "folder": str(folder),
        },
        # Beside the GPUs' own: what hosts agree on by gloo need not wait for a GPU.
        torch_config=GroupOfSeveral(backend="cpu:gloo,cuda:nccl" if slot.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=slot.workers,
            use_gpu=slot.gpus > 0,
            resources_per_worker=slot.of_worker,
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=shared.checkpoints,
            callbacks=[ReportToTune()],
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            # Ray keeps the latest beside them: if that is damaged, there is one before it.
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute=trial.metric),
        ),
    )


def train_worker(payload: dict[str, Any]) -> dict[str, Any] | None:
    """The function that `TorchTrainer` runs on each worker.

    The driver imports this module too, and would import all that training needs for nothing.
    """
    from tuning.trial.worker import train

    return train(payload)


_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray's list of a trial's checkpoints."""


def mend_snapshot(folder: Path) -> None:
    """Remove Ray's list of a trial's checkpoints if Ray would refuse it, at each new try and so for ever.

    Ray writes the file in place: a kill or a full disk leaves half of it, or nothing in it. The checkpoints are found
    without it.
    """
    file = folder / _SNAPSHOT
    try:
        listed = json.loads(file.read_text())["checkpoint_results"]
        whole = all((folder / each["checkpoint_dir_name"]).is_dir() for each in listed)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        print(f"note: {file} is damaged and not gone by", flush=True)
        file.unlink()
