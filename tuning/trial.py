"""One trial: the driver function that Tune runs, which trains by a `TorchTrainer`."""

from __future__ import annotations

from typing import Any

import ray.tune
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from tuning.config import TrialConfig
from tuning.job import TrialJob

# A dead process (spot node, out-of-memory killer) is worth new tries from the last checkpoint; one node's death can
# take a trial's driver, controller and worker one after another, so the counts allow for more than one.
WORKER_RESTARTS = 3
DRIVER_RESTARTS = 2

# A driver waits for its worker and computes nothing: a share of a CPU would keep a worker off a full machine.
DRIVER_RESOURCES = {"memory": 256 * 2**20}


def run_trial(choice: dict[str, Any], job: dict[str, Any]) -> None:
    """Train one trial; Tune calls this in a process of its own.

    Args:
        choice: one value of each axis of the space.
        job: a `TrialJob` as plain values.
    """
    shared = TrialJob.model_validate(job)
    trial = TrialConfig.choose(shared.sweep, choice)
    slot = shared.slot
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"trial": trial.model_dump(), "data": shared.data.model_dump(), "cpus": slot.cpus},
        scaling_config=ScalingConfig(
            num_workers=slot.workers,
            use_gpu=slot.gpus > 0,
            resources_per_worker={"CPU": slot.cpus} | ({"GPU": slot.gpus} if slot.gpus else {}),
        ),
        run_config=RunConfig(
            # Named by the trial, never by time: a restarted driver then finds its trial's checkpoint.
            name=ray.tune.get_context().get_trial_id(),
            storage_path=shared.checkpoints,
            callbacks=[TuneReportCallback()],
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            # The best one; Ray keeps the latest beside it whatever its score.
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=trial.metric),
        ),
    )
    trainer.fit()


def train_worker(payload: dict[str, Any]) -> None:
    """The function that `TorchTrainer` runs on each worker.

    The driver and Ray's controller import this module too, and would import all that training needs for nothing.
    """
    from tuning.worker import train

    train(payload)
