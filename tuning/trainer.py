"""How a trial's `TorchTrainer` runs with as few processes as it can, and lets go of its place at once.

Ray would start seven for a trial beside its driver: a controller, a queue from it to the driver, a watcher for nodes
that are taken away, a cleaner for a controller that dies, a manager of Ray datasets, a barrier for the workers, and the
worker. On a small machine their start takes longer than a small model's epoch. The first three are objects in the
driver's process here; the cleaner has nothing to clean, since the workers' place is the trial's own, and the manager
nothing to manage; the last two outlive the trial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import ray.tune
from ray.train import UserCallback
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.callbacks.preemption_callback import PreemptionCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.preemption import PreemptionWatcher
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.result import Result

from tuning.kept_workers import KeptWorkerGroup

_WITHOUT_USE = (PlacementGroupCleanerCallback, DatasetsCallback)


class TrialTrainer(TorchTrainer):
    """A `TorchTrainer` inside a Tune trial, whose controller runs in the trial's own process.

    Tune stops a trial by ending its thread at a report (`SystemExit`). With the controller in that thread the workers
    are stopped before Tune goes on, and the process is fit for the next trial.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [*(each for each in callbacks if not isinstance(each, _WITHOUT_USE)), _WatchHere()]

    def _initialize_and_run_controller(self, **parts: Any) -> Result:
        controller = _Controller(**parts | {"scaling_policy": _PlacedByTune(self.scaling_config)})
        try:
            asyncio.run(controller.run())
        except SystemExit:
            _group(controller, KeptWorkerGroup.stop)
            raise
        except BaseException:
            _group(controller, KeptWorkerGroup.abort)
            raise
        return controller.get_result()


class GroupOfSeveral(TorchConfig):
    """PyTorch's process group for several workers; a worker alone has nobody to agree with, and goes without."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What sets the group up."""
        return _BackendOfSeveral


class ReportToTune(UserCallback):
    """Each report of the workers becomes one of the trial, in the thread that Tune knows."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Hand rank 0's metrics on, with the path of the checkpoint that came with them; returns once Tune has them.

        Raises:
            SystemExit: the scheduler stops the trial.
        """
        ray.tune.report(metrics[0] | ({"checkpoint_path": checkpoint.path} if checkpoint else {}))


class _BackendOfSeveral(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        if len(worker_group) > 1:
            super().on_start(worker_group, backend_config)


class _Controller(TrainController):
    worker_group_cls = KeptWorkerGroup


def _group(controller: TrainController, end: Callable[[KeptWorkerGroup], None]) -> None:
    group = controller.get_worker_group()
    if group is not None and group.has_started():
        end(group)


class _PlacedByTune(FixedScalingPolicy):
    """As many workers as were asked for; the cluster's autoscaler knows of them by the trial's placement group.

    Ray's own policy would ask the autoscaler for them a second time, by an actor that may be slow to answer.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    async def before_controller_shutdown(self) -> None:
        pass

    def before_controller_abort(self) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class _WatchHere(PreemptionCallback):
    """Sees a node's drain notice from a thread of this process."""

    _watcher: _Watcher | None

    def after_worker_group_start(self, worker_group: Any) -> None:
        self._stop_watcher()
        nodes: dict[str, list[int]] = {}
        workers = {}
        for worker in worker_group.get_workers():
            rank = worker.distributed_context.world_rank
            nodes.setdefault(worker.metadata.node_id, []).append(rank)
            workers[rank] = worker.actor
        self._watcher = _Watcher(
            node_to_ranks=nodes, poll_interval_s=self._poll_interval_s, worker_actors_by_rank=workers
        )

    def _stop_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        self._watcher = None


class _Watcher(PreemptionWatcher):
    def stop(self) -> None:
        self._stop_event.set()
