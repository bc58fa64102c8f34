"""Trials on Ray Tune and Ray Train: as a sweep runs them, and in the plainest set-up that Ray's documentation shows.

Imports are inside the functions: a trial's processes import this module, and each set-up should pay only for its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TrainLoop = Callable[[dict[str, Any]], None]


def run_sweep_trial(train_loop: TrainLoop, config: dict[str, Any], folder: str) -> None:
    """Inside a trial: run the function in one worker with one CPU, as the driver of a sweep does.

    Args:
        train_loop: runs in the worker.
        config: its argument.
        folder: where Ray Train keeps its files.
    """
    from ray import tune
    from ray.train import RunConfig, ScalingConfig

    from tuning.trial.ray_internals import InProcessReportCallback, MultiWorkerTorchConfig, ReusingTorchTrainer

    name = tune.get_context().get_trial_id()
    ReusingTorchTrainer(
        train_loop,
        train_loop_config=config,
        torch_config=MultiWorkerTorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name=name, storage_path=folder, callbacks=[InProcessReportCallback()]),
    ).fit()


def sweep_trial_resources() -> Any:
    """Return what Tune reserves for a trial of a sweep with one worker of one CPU."""
    from tuning.trial.driver import trial_resources
    from tuning.trial.spec import Slot

    return trial_resources(Slot(workers=1, cpus=1, gpus=0))


def run_plain_trial(train_loop: TrainLoop, config: dict[str, Any], folder: str, *, use_gpu: bool = False) -> None:
    """Inside a trial: run the function in one worker of Ray's own trainer, with Ray's defaults."""
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    name = tune.get_context().get_trial_id()
    TorchTrainer(
        train_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=1, use_gpu=use_gpu),
        run_config=RunConfig(name=name, storage_path=folder, callbacks=[TuneReportCallback()]),
    ).fit()


def plain_trial_resources() -> Any:
    """Return what Tune reserves for the driver of a plain trial; the trainer reserves its worker itself."""
    from ray import tune

    return tune.PlacementGroupFactory([{"CPU": 0.01}])


def start_plain_ray(**options: Any) -> Any:
    """Start Ray on this machine for plain trials; `options` go to `ray.init`."""
    import ray

    # Without the dashboard the resources of a stopped plain trial are never released.
    return ray.init(address="local", include_dashboard=True, log_to_driver=False, logging_level="ERROR", **options)
