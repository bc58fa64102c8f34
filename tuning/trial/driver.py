"""The driver of one trial: the function that Tune runs, which trains by a `TorchTrainer`."""

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
    UserCallback,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune import PlacementGroupFactory
from ray.tune.integration.ray_train import TuneReportCallback

from tuning.config.trial_config import TrialConfig
from tuning.errors import last_line
from tuning.trial.spec import DRIVER_MEMORY, Slot, TrialJob

WORKER_RESTARTS = 3
"""Restarts of a trial's workers without a new checkpoint, after the death of a process (spot node, out of memory)."""

DRIVER_RESTARTS = 10
"""Restarts of a trial's driver. It dies with its node only, which can happen more often than a fault of its own."""

# A driver waits for its workers and computes nothing: a fraction of a CPU would keep a worker off a full machine.
_DRIVER_BUNDLE = {"memory": DRIVER_MEMORY}


def trial_resources(slot: Slot, *, reuse_workers: bool = True) -> PlacementGroupFactory:
    """Return what Tune reserves for a trial: a bundle for its driver, then one per worker.

    Args:
        slot: resources of the trial.
        reuse_workers: as `resources.reuse_workers`; if False the trainer reserves its workers' resources itself.
    """
    worker_bundles = [slot.worker_resources] * slot.workers if reuse_workers else []
    return PlacementGroupFactory([_DRIVER_BUNDLE, *worker_bundles])


def run_trial(choice: dict[str, Any], job: TrialJob) -> None:
    """Train one trial; Tune calls this in a process of its own.

    Args:
        choice: one value per axis of the space.
        job: what all trials of the sweep share.
    """
    trial = TrialConfig.from_choice(job.sweep, choice)
    try:
        _fit(job, trial)
    except TrainingFailedError as error:
        _report_failure(trial, error)


def _fit(job: TrialJob, trial: TrialConfig) -> None:
    """Train to the end; a trial that keeps losing its workers is restarted as long as it makes progress."""
    folder = _checkpoint_folder(job)
    while True:
        before = sorted(folder.glob("checkpoint_*/"))
        try:
            _build_trainer(job, trial).fit()
            return
        except TrainingFailedError:
            if sorted(folder.glob("checkpoint_*/")) == before:
                raise


def _report_failure(trial: TrialConfig, error: TrainingFailedError) -> None:
    """End the trial by a report: if the error were raised, Tune would restart the trial as if its driver had died."""
    failures = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else []
    reason = last_line(str(failures[0] if failures else error))
    # Tune's scheduler needs a number: 0 is the worst value of the metric.
    ray.tune.report({"epoch": 0, "status": "error", "reason": reason, trial.metric: 0.0, "seconds": 0.0})


def _checkpoint_folder(job: TrialJob) -> Path:
    """Return the folder of the trial's checkpoints, named by its id so that a restarted driver finds it."""
    return Path(job.checkpoints, ray.tune.get_context().get_trial_id())


def _build_trainer(job: TrialJob, trial: TrialConfig) -> TorchTrainer:
    slot, folder = job.slot, _checkpoint_folder(job)
    trainer_class, torch_config_class, callback = _trainer_parts(job.sweep.resources.reuse_workers)
    remove_corrupt_snapshot(folder)
    return trainer_class(
        train_worker,
        train_loop_config={
            "trial": trial,
            "data": job.data,
            "cpus": slot.cpus,
            "folder": str(folder),
        },
        # gloo in addition to NCCL: what the hosts agree on must not wait for a GPU.
        torch_config=torch_config_class(backend="cpu:gloo,cuda:nccl" if slot.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=slot.workers,
            use_gpu=slot.gpus > 0,
            resources_per_worker=slot.worker_resources,
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=job.checkpoints,
            callbacks=[callback],
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            # Ray keeps the latest checkpoint too: if it is corrupt, there is one before it.
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute=trial.metric),
        ),
    )


def _trainer_parts(reuse_workers: bool) -> tuple[type[TorchTrainer], type[TorchConfig], UserCallback]:
    if not reuse_workers:
        return TorchTrainer, TorchConfig, TuneReportCallback()
    # Imported only here: `resources.reuse_workers: false` must work on a Ray release that has changed its internals.
    from tuning.trial.ray_internals import InProcessReportCallback, MultiWorkerTorchConfig, ReusingTorchTrainer

    return ReusingTorchTrainer, MultiWorkerTorchConfig, InProcessReportCallback()


def train_worker(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Train as one worker of a trial; `TorchTrainer` calls this.

    The worker is imported here, since the driver imports this module too and does not need what training needs.
    """
    from tuning.trial.worker import train

    return train(payload)


_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray's index of a trial's checkpoints."""


def remove_corrupt_snapshot(folder: Path) -> None:
    """Remove Ray's index of a trial's checkpoints if Ray could not read it, which would fail every restart.

    Ray writes the file in place: a kill or a full disk leaves it truncated or empty. The checkpoints are found
    without it.

    Args:
        folder: of the trial's checkpoints.
    """
    file = folder / _SNAPSHOT
    try:
        entries = json.loads(file.read_text())["checkpoint_results"]
        usable = all((folder / entry["checkpoint_dir_name"]).is_dir() for entry in entries)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        usable = False
    if not usable:
        print(f"note: ignoring the corrupt checkpoint index {file}", flush=True)
        file.unlink()
