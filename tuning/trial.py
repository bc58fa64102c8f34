"""One trial: the driver function that Tune runs, which trains by a `TorchTrainer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.tune
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from tuning.checkpoint import read_manifest
from tuning.config import TrialConfig
from tuning.job import TrialJob
from tuning.population import Generation, own_choice

# A dead process (spot node, out-of-memory killer) is worth new tries from the last checkpoint; one node's death can
# take a trial's driver, controller and worker one after another, so the counts allow for more than one.
WORKER_RESTARTS = 3
DRIVER_RESTARTS = 2

# A driver waits for its worker and computes nothing: a share of a CPU would keep a worker off a full machine.
DRIVER_RESOURCES = {"memory": 256 * 2**20}


def run_trial(choice: dict[str, Any], job: dict[str, Any]) -> None:
    """Train one trial, or one generation of it in a population; Tune calls this in a process of its own.

    Args:
        choice: one value of each axis of the space, and its `Generation`.
        job: a `TrialJob` as plain values.
    """
    shared, generation = TrialJob.model_validate(job), Generation.of(choice)
    trial = TrialConfig.choose(shared.sweep, own_choice(choice))
    if shared.sweep.search.pbt is None:
        _trainer(shared, trial, generation, [TuneReportCallback()]).fit()
        return
    # Reported once it has ended: a trial that is paused or stopped then leaves no Train run behind.
    done = _trainer(shared, trial, generation, []).fit()
    if done.checkpoint is not None:
        folder = Path(done.checkpoint.path)
        for epoch, metrics in enumerate(read_manifest(folder).history, 1):
            if epoch > generation.start:
                ray.tune.report({"epoch": epoch, "status": "running", "checkpoint_path": str(folder), **metrics})
    if done.return_value is not None:
        ray.tune.report(done.return_value)


def _trainer(
    shared: TrialJob, trial: TrialConfig, generation: Generation, callbacks: list[UserCallback]
) -> TorchTrainer:
    slot = shared.slot
    return TorchTrainer(
        train_worker,
        train_loop_config={
            "trial": trial.model_dump(),
            "data": shared.data.model_dump(),
            "cpus": slot.cpus,
            "parent": generation.parent,
            "until": generation.end(shared.sweep),
        },
        # Beside the GPUs' own: what hosts agree on by gloo need not wait for a GPU.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if slot.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=slot.workers,
            use_gpu=slot.gpus > 0,
            resources_per_worker={"CPU": slot.cpus} | ({"GPU": slot.gpus} if slot.gpus else {}),
        ),
        run_config=RunConfig(
            # Named by the trial, never by time: a restarted driver then finds its trial's checkpoint.
            name=generation.run_name(ray.tune.get_context().get_trial_id()),
            storage_path=shared.checkpoints,
            callbacks=callbacks,
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            # The best one; Ray keeps the latest beside it whatever its score.
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=trial.metric),
        ),
    )


def train_worker(payload: dict[str, Any]) -> dict[str, Any] | None:
    """The function that `TorchTrainer` runs on each worker.

    The driver and Ray's controller import this module too, and would import all that training needs for nothing.
    """
    from tuning.worker import train

    return train(payload)
