"""A trial's training processes, placed by Tune, and kept for the next trial of the same driver.

Ray Train would ask for a place of its own, of which Tune knows nothing and which stays taken when the driver dies. Here
the workers run in the trial's own placement group, behind the driver's bundle: Tune counts what they take, and frees it
the moment that it ends the trial.

A process that is ready to train has started Python and imported PyTorch: seconds, which a sweep of short trials would
spend again on every one. A driver that Tune gives a new trial therefore gives it the workers of its last one. Workers
of which one failed, or that don't come to an end when asked, are never used again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train.v2._internal.execution.worker_group import (
    DefaultPlacementGroupHandle,
    Worker,
    WorkerGroup,
    WorkerGroupState,
    worker_group,
)

from tuning import stopping

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
