"""How a trial's `TorchTrainer` runs with as few processes as it can, and lets go of its place at once.

Ray would start seven for a trial beside its driver: a controller, a queue from it to the driver, a watcher for nodes
that are taken away, a cleaner for a controller that dies, a manager of Ray datasets, a barrier for the workers, and the
worker. On a small machine their start takes longer than a small model's epoch. The first three are objects in the
driver's process here; the cleaner has nothing to clean, since the workers' place is the trial's own, and the manager
nothing to manage; the last two outlive the trial.
"""

from __future__ import annotations

import asyncio
import contextlib
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

from tuning.trial import stop as stopping

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


SECONDS_TO_STOP = 20.0
"""For the step in which a worker is when it is asked; one that takes longer is killed."""


class _TrialsPlace(DefaultPlacementGroupHandle):
    """The placement group of the trial, which is Tune's to free."""

    def shutdown(self) -> None:
        pass


_kept: WorkerGroupState | None = None
"""Of this process's last trial; a driver has one trial at a time."""


class KeptWorkerGroup(WorkerGroup):
    """A worker group that begins with the workers that are kept, and keeps its own where they end well."""

    _taken: WorkerGroupState | None = None

    def stop(self) -> None:
        """End training as soon as the workers' current step is done, and keep them; where that fails, end them."""
        # Workers that wait for each other's gradients don't stop at the same step: one alone can be asked.
        if len(self) == 1 and self._comes_to_an_end():
            self._shut_down_keeping()
        else:
            self.abort()

    def shutdown(self) -> None:
        """As Ray's, but workers that have finished without an error are kept."""
        status = self.get_latest_poll_status()
        if self.has_started() and status is not None and status.finished and not status.errors:
            self._shut_down_keeping()
        else:
            super().shutdown()

    def _comes_to_an_end(self) -> bool:
        (worker,) = self.get_workers()
        deadline = time.monotonic() + SECONDS_TO_STOP
        try:
            ray.get(worker.execute_async(stopping.ask), timeout=SECONDS_TO_STOP)
            # A poll also takes what the worker waits to report.
            while ray.get(worker.actor.poll_status.remote(), timeout=SECONDS_TO_STOP).running:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
        except RayError:
            return False
        return True

    def _shut_down_keeping(self) -> None:
        state = self.get_worker_group_state()
        self._worker_group_state = _Keeping(**{each.name: getattr(state, each.name) for each in fields(state)})
        super().shutdown()

    def _start_impl(self, worker_group_state_builder: Any) -> None:
        self._taken = _take(self._worker_group_context.num_workers)
        with _barrier_of(self._taken) if self._taken is not None else contextlib.nullcontext():
            super()._start_impl(worker_group_state_builder)

    def _create_placement_group(self, *_: Any) -> _TrialsPlace:
        place = ray.util.get_current_placement_group()
        assert place is not None, "Tune gives each trial one"
        return _TrialsPlace(place)

    def _create_workers(self, num_workers: int, place: Any, resources: dict[str, float], **kwargs: Any) -> list[Worker]:
        # The first bundle is the driver's.
        bundles = list(range(1, num_workers + 1))
        if self._taken is None:
            return super()._create_workers(num_workers, place, resources, bundles, **kwargs)
        again = [
            Worker(each.actor, each.metadata, each.resources, placement_group_bundle_index=bundle)
            for each, bundle in zip(self._taken.workers, bundles, strict=True)
        ]
        return WorkerGroup._assign_worker_ranks(again, 0, None, kwargs["replica_group_size"])


class _Keeping(WorkerGroupState):
    """The state of a group, which is kept where it would be shut down."""

    def shutdown(self) -> None:
        global _kept
        _kept = self


def _take(num_workers: int) -> WorkerGroupState | None:
    """The kept workers, if they are as many and alive; else they are ended."""
    global _kept
    kept, _kept = _kept, None
    if kept is None:
        return None
    try:
        ray.get([worker.actor.get_metadata.remote() for worker in kept.workers], timeout=10)
        if len(kept.workers) == num_workers:
            return kept
    except RayError:
        pass  # A worker or its node is gone.
    WorkerGroupState.shutdown(kept)
    return None


@contextlib.contextmanager
def _barrier_of(kept: WorkerGroupState) -> Iterator[None]:
    """Ray makes the actor at which workers wait for each other from a name of its module: here it is the kept one."""
    own = worker_group.SynchronizationActor
    worker_group.SynchronizationActor = _Made(kept.sync_actor)
    try:
        yield
    finally:
        worker_group.SynchronizationActor = own


@dataclass(frozen=True)
class _Made:
    """An actor class whose only actor is there."""

    actor: Any

    def options(self, **_: Any) -> _Made:
        return self

    def remote(self, **_: Any) -> Any:
        return self.actor


class _Controller(TrainController):
    worker_group_cls = KeptWorkerGroup
