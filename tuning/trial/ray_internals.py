"""A `TorchTrainer` that starts fewer processes than Ray's own and reuses its workers for the next trial.

The only module that imports private modules of Ray; `tests/tuning/trial/test_ray_contract.py` names each thing that it
relies on. `resources.reuse_workers: false` runs a sweep without it.

For each trial Ray starts seven processes besides the driver: the controller, a queue from it to the driver, a watcher
of preemption notices, a cleaner of placement groups, a manager of Ray datasets, a barrier for the workers, and the
worker. On a small machine starting them takes longer than an epoch of a small model. Here the first three are objects
in the driver's process. The cleaner is not needed, since the workers run in the trial's own placement group, which Tune
removes; nor is the manager, since no Ray dataset is used. The barrier and the worker outlive the trial.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import ray
import ray.tune
from ray.exceptions import RayError
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
from ray.train.v2._internal.execution.worker_group import (
    DefaultPlacementGroupHandle,
    Worker,
    WorkerGroup,
    WorkerGroupState,
    worker_group,
)
from ray.train.v2.api.result import Result

from tuning.trial.stop import request_stop

STOP_TIMEOUT_SECONDS = 20.0
"""For the training step that a worker is in when it is requested to stop; after that it is killed."""

_UNUSED_CALLBACKS = (PlacementGroupCleanerCallback, DatasetsCallback)


class ReusingTorchTrainer(TorchTrainer):
    """A `TorchTrainer` for a Tune trial whose controller runs in the driver's process.

    Tune stops a trial by ending the driver's thread at a report (`SystemExit`). Since the controller runs in this
    thread, the workers have stopped before Tune continues, and the process is ready for the next trial.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        used = [callback for callback in callbacks if not isinstance(callback, _UNUSED_CALLBACKS)]
        return [*used, _InProcessPreemptionCallback()]

    def _initialize_and_run_controller(self, **kwargs: Any) -> Result:
        # The controller would add Ray's preemption callback, which starts a process.
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
        controller = _Controller(**kwargs | {"scaling_policy": _FixedByPlacementGroup(self.scaling_config)})
        try:
            asyncio.run(controller.run())
        except SystemExit:
            _end_workers(controller, ReusableWorkerGroup.stop)
            raise
        except BaseException:
            _end_workers(controller, ReusableWorkerGroup.abort)
            raise
        return controller.get_result()


class InProcessReportCallback(UserCallback):
    """Pass each report of the workers to Tune, in the driver's thread."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Report rank 0's metrics and the path of their checkpoint; return once Tune has them.

        Raises:
            SystemExit: the scheduler stops the trial.
        """
        ray.tune.report(metrics[0] | ({"checkpoint_path": checkpoint.path} if checkpoint else {}))


class MultiWorkerTorchConfig(TorchConfig):
    """A `TorchConfig` that sets up a process group only if there are several workers."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that sets up the process group."""
        return _MultiWorkerBackend


class _MultiWorkerBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        if len(worker_group) > 1:
            super().on_start(worker_group, backend_config)


class _FixedByPlacementGroup(FixedScalingPolicy):
    """A fixed number of workers, without a request to the autoscaler.

    The autoscaler knows of the workers by the trial's placement group. Ray's own policy would request them a second
    time, through an actor that can be slow to answer.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    async def before_controller_shutdown(self) -> None:
        pass

    def before_controller_abort(self) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class _InProcessPreemptionCallback(PreemptionCallback):
    """Watch for the drain notices of nodes from a thread of this process."""

    _watcher: _StoppableWatcher | None

    def after_worker_group_start(self, worker_group: Any) -> None:
        self._stop_watcher()
        ranks_by_node: dict[str, list[int]] = {}
        actors_by_rank = {}
        for worker in worker_group.get_workers():
            rank = worker.distributed_context.world_rank
            ranks_by_node.setdefault(worker.metadata.node_id, []).append(rank)
            actors_by_rank[rank] = worker.actor
        self._watcher = _StoppableWatcher(
            node_to_ranks=ranks_by_node, poll_interval_s=self._poll_interval_s, worker_actors_by_rank=actors_by_rank
        )

    def _stop_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        self._watcher = None


class _StoppableWatcher(PreemptionWatcher):
    def stop(self) -> None:
        self._stop_event.set()


def _end_workers(controller: TrainController, end: Callable[[ReusableWorkerGroup], None]) -> None:
    group = controller.get_worker_group()
    if group is not None and group.has_started():
        end(group)


class _BorrowedPlacementGroup(DefaultPlacementGroupHandle):
    """The placement group of the trial, which Tune removes."""

    def shutdown(self) -> None:
        pass


_idle_workers: WorkerGroupState | None = None
"""Of this process's last trial, for its next one; a driver runs one trial at a time."""


class ReusableWorkerGroup(WorkerGroup):
    """A worker group that starts with the workers of the process's last trial, and leaves its own for the next one."""

    _reused: WorkerGroupState | None = None

    def stop(self) -> None:
        """End training after the workers' current step and keep the workers; kill them if that fails."""
        # Several workers wait for each other's gradients and would not stop at the same step.
        if len(self) == 1 and self._stops_in_time():
            self._shutdown_but_keep_workers()
        else:
            self.abort()

    def shutdown(self) -> None:
        """Shut down as Ray does, but keep workers that have finished without an error."""
        status = self.get_latest_poll_status()
        if self.has_started() and status is not None and status.finished and not status.errors:
            self._shutdown_but_keep_workers()
        else:
            super().shutdown()

    def _stops_in_time(self) -> bool:
        (worker,) = self.get_workers()
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        try:
            ray.get(worker.execute_async(request_stop), timeout=STOP_TIMEOUT_SECONDS)
            # A poll also takes the report that the worker waits to hand over.
            while ray.get(worker.actor.poll_status.remote(), timeout=STOP_TIMEOUT_SECONDS).running:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
        except RayError:
            return False
        return True

    def _shutdown_but_keep_workers(self) -> None:
        state = self.get_worker_group_state()
        self._worker_group_state = _KeptState(**{each.name: getattr(state, each.name) for each in fields(state)})
        super().shutdown()

    def _start_impl(self, worker_group_state_builder: Any) -> None:
        self._reused = _take_idle_workers(self._worker_group_context.num_workers)
        with _reused_barrier(self._reused) if self._reused is not None else contextlib.nullcontext():
            super()._start_impl(worker_group_state_builder)

    def _create_placement_group(self, *_: Any) -> _BorrowedPlacementGroup:
        placement_group = ray.util.get_current_placement_group()
        assert placement_group is not None, "Tune creates one for each trial"
        return _BorrowedPlacementGroup(placement_group)

    def _create_workers(
        self, num_workers: int, placement_group: Any, resources: dict[str, float], **kwargs: Any
    ) -> list[Worker]:
        # Bundle 0 is the driver's.
        bundles = list(range(1, num_workers + 1))
        if self._reused is None:
            return super()._create_workers(num_workers, placement_group, resources, bundles, **kwargs)
        workers = [
            Worker(worker.actor, worker.metadata, worker.resources, placement_group_bundle_index=bundle)
            for worker, bundle in zip(self._reused.workers, bundles, strict=True)
        ]
        return WorkerGroup._assign_worker_ranks(workers, 0, None, kwargs["replica_group_size"])


class _Controller(TrainController):
    worker_group_cls = ReusableWorkerGroup


class _KeptState(WorkerGroupState):
    """The state of a worker group; its workers become idle where Ray would end them."""

    def shutdown(self) -> None:
        global _idle_workers
        _idle_workers = self


def _take_idle_workers(num_workers: int) -> WorkerGroupState | None:
    """Return the idle workers if they are `num_workers` and alive; end them otherwise."""
    global _idle_workers
    idle, _idle_workers = _idle_workers, None
    if idle is None:
        return None
    try:
        ray.get([worker.actor.get_metadata.remote() for worker in idle.workers], timeout=10)
        if len(idle.workers) == num_workers:
            return idle
    except RayError:
        pass  # A worker or its node is gone.
    WorkerGroupState.shutdown(idle)
    return None


@contextlib.contextmanager
def _reused_barrier(idle: WorkerGroupState) -> Iterator[None]:
    """Make Ray use the barrier of the idle workers, by replacing the actor class that it creates one from."""
    original = worker_group.SynchronizationActor
    worker_group.SynchronizationActor = _ExistingActor(idle.sync_actor)
    try:
        yield
    finally:
        worker_group.SynchronizationActor = original


@dataclass(frozen=True)
class _ExistingActor:
    """Stands for an actor class; creating an actor returns the existing one."""

    actor: Any

    def options(self, **_: Any) -> _ExistingActor:
        return self

    def remote(self, **_: Any) -> Any:
        return self.actor
