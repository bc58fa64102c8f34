"""What `tuning/trial/ray_internals.py` and its callers rely on in Ray's private code.

When a test fails after an update of Ray: compare the class that it names in the two Ray releases, and adapt the class
of ours that it names. Until then `resources.reuse_workers: false` runs sweeps without Ray's private code.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pytest
import ray

_INTERNAL = "ray.train.v2._internal"
_EXECUTION = f"{_INTERNAL}.execution"
_GROUP = f"{_EXECUTION}.worker_group"


@dataclass(frozen=True)
class Reliance:
    """A class of Ray and what of it is used or overridden."""

    module: str
    name: str
    used_by: str
    """Where to look at when it has changed."""
    methods: dict[str, str] = field(default_factory=dict)
    """Parameters of each method; `property`, and `async` in front of a coroutine's."""
    attributes: tuple[str, ...] = ()
    """Instance attributes that its constructor sets, or fields of a dataclass."""


RELIANCES = (
    Reliance(
        "ray.train.torch",
        "TorchTrainer",
        "ReusingTorchTrainer, which runs the controller in its own process",
        {
            "_create_default_callbacks": "self",
            "_initialize_and_run_controller": "self, **controller_init_kwargs",
        },
    ),
    Reliance(
        f"{_EXECUTION}.controller",
        "TrainController",
        "ReusingTorchTrainer, which creates it and runs it to the end, and _Controller",
        {
            "__init__": "self, train_fn_ref, train_run_context, scaling_policy, failure_policy, callbacks, "
            "validation_config",
            "run": "async self",
            "get_result": "self",
            "get_worker_group": "self",
        },
    ),
    Reliance(
        _GROUP,
        "WorkerGroup",
        "ReusableWorkerGroup, which starts with the workers of the last trial and keeps its own",
        {
            "__len__": "self",
            "has_started": "self",
            "get_workers": "self",
            "get_latest_poll_status": "self",
            "get_worker_group_state": "self",
            "abort": "self",
            "shutdown": "self",
            "_start_impl": "self, worker_group_state_builder",
            "_create_placement_group": "self, scaling_config, worker_group_context",
            "_create_workers": "self, num_workers, placement_group, resources_per_worker, "
            "placement_group_bundle_indices, starting_world_rank, world_size, replica_group_size",
            "_assign_worker_ranks": "workers, starting_world_rank, world_size, replica_group_size",
        },
        ("_worker_group_state", "_worker_group_context"),
    ),
    Reliance(
        _GROUP,
        "WorkerGroupState",
        "_KeptState and _take_idle_workers, which copy the fields and replace or call shutdown()",
        {"shutdown": "self"},
        ("start_time", "placement_group_handle", "workers", "sync_actor"),
    ),
    Reliance(f"{_GROUP}.state", "WorkerGroupContext", "ReusableWorkerGroup._start_impl", {}, ("num_workers",)),
    Reliance(
        _GROUP,
        "Worker",
        "ReusableWorkerGroup._create_workers, which wraps the actor of an idle worker",
        {"execute_async": "self, fn, *fn_args, **fn_kwargs"},
        ("actor", "metadata", "resources", "distributed_context", "placement_group_bundle_index"),
    ),
    Reliance(
        f"{_GROUP}.worker",
        "RayTrainWorker",
        "ReusableWorkerGroup._stops_in_time and _take_idle_workers, which call the actor",
        {"poll_status": "self", "get_metadata": "self"},
    ),
    Reliance(f"{_GROUP}.worker", "ActorMetadata", "_InProcessPreemptionCallback", {}, ("node_id",)),
    Reliance(f"{_EXECUTION}.context", "DistributedContext", "_InProcessPreemptionCallback", {}, ("world_rank",)),
    Reliance(f"{_GROUP}.poll", "WorkerStatus", "ReusableWorkerGroup._stops_in_time", {}, ("running",)),
    Reliance(
        f"{_GROUP}.poll",
        "WorkerGroupPollStatus",
        "ReusableWorkerGroup.shutdown, which keeps workers that have finished without errors",
        {"finished": "property", "errors": "property"},
    ),
    Reliance(
        _GROUP,
        "DefaultPlacementGroupHandle",
        "_BorrowedPlacementGroup, which leaves the placement group to Tune",
        {"__init__": "self, pg", "shutdown": "self"},
    ),
    Reliance(
        f"{_EXECUTION}.scaling_policy",
        "FixedScalingPolicy",
        "_FixedByPlacementGroup, which drops every call to the autoscaler",
        {
            "__init__": "self, scaling_config",
            "after_controller_start": "self, train_run_context",
            "before_controller_shutdown": "async self",
            "before_controller_abort": "self",
            "_maybe_send_resource_request": "self",
        },
    ),
    Reliance(
        f"{_INTERNAL}.callbacks.preemption_callback",
        "PreemptionCallback",
        "_InProcessPreemptionCallback, which runs the watcher in a thread",
        {"__init__": "self", "after_worker_group_start": "self, worker_group", "_stop_watcher": "self"},
        ("_poll_interval_s", "_watcher"),
    ),
    Reliance(
        f"{_EXECUTION}.preemption",
        "PreemptionWatcher",
        "_StoppableWatcher",
        {"__init__": "self, node_to_ranks, poll_interval_s, worker_actors_by_rank"},
        ("_stop_event",),
    ),
    Reliance(
        "ray.train.torch.config",
        "_TorchBackend",
        "_MultiWorkerBackend, which sets up no process group for one worker",
        {"on_start": "self, worker_group, backend_config"},
    ),
    Reliance("ray.train.torch", "TorchConfig", "MultiWorkerTorchConfig", {"backend_cls": "property"}, ("backend",)),
    Reliance(
        f"{_EXECUTION}.checkpoint.checkpoint_manager",
        "_CheckpointManagerState",
        "remove_corrupt_snapshot in tuning/trial/driver.py, which reads Ray's index of checkpoints",
        {},
        ("checkpoint_results",),
    ),
    Reliance(
        f"{_EXECUTION}.checkpoint.checkpoint_manager",
        "_TrainingResultState",
        "remove_corrupt_snapshot in tuning/trial/driver.py, which reads Ray's index of checkpoints",
        {},
        ("checkpoint_dir_name",),
    ),
)


def load(module: str, name: str, used_by: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        pytest.fail(changed(f"{module}.{name}", "is gone or has moved", used_by))


def changed(what: str, how: str, used_by: str) -> str:
    return f"Ray {ray.__version__}: {what} {how}; look at {used_by} (tuning/trial/ray_internals.py)"


def parameters(member: Any) -> str:
    if isinstance(member, property):
        return "property"
    prefixes = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    names = ", ".join(prefixes.get(p.kind, "") + p.name for p in inspect.signature(member).parameters.values())
    return f"async {names}" if inspect.iscoroutinefunction(member) else names


def instance_attributes(cls: Any) -> set[str]:
    """Fields of a dataclass or pydantic model, or the names in the constructor of another class."""
    if is_dataclass(cls):
        return {each.name for each in fields(cls)}
    if hasattr(cls, "model_fields"):
        return set(cls.model_fields)
    return set(cls.__init__.__code__.co_names)


@pytest.mark.parametrize("reliance", RELIANCES, ids=lambda reliance: reliance.name)
def test_class_of_ray_is_as_we_use_it(reliance: Reliance) -> None:
    cls = load(reliance.module, reliance.name, reliance.used_by)
    for name, expected in reliance.methods.items():
        what = f"{reliance.module}.{reliance.name}.{name}"
        member = getattr(cls, name, None)
        assert member is not None, changed(what, "is gone", reliance.used_by)
        assert parameters(member) == expected, changed(what, "has other parameters", reliance.used_by)
    for name in reliance.attributes:
        what = f"{reliance.module}.{reliance.name}.{name}"
        assert name in instance_attributes(cls), changed(what, "is gone", reliance.used_by)


CALLS = (
    (f"{_GROUP}.worker_group", "WorkerGroup", "_start_impl", "SynchronizationActor", "_reused_barrier"),
    (f"{_GROUP}.worker_group", "WorkerGroup", "_start_impl", "_create_placement_group", "_BorrowedPlacementGroup"),
    (f"{_GROUP}.worker_group", "WorkerGroup", "_start_impl", "_create_workers", "ReusableWorkerGroup._create_workers"),
    (f"{_GROUP}.worker_group", "WorkerGroup", "shutdown", "_worker_group_state", "_shutdown_but_keep_workers"),
    (
        f"{_EXECUTION}.controller.controller",
        "TrainController",
        "_start_worker_group",
        "worker_group_cls",
        "_Controller",
    ),
    ("ray.train.torch", "TorchTrainer", "fit", "_initialize_and_run_controller", "ReusingTorchTrainer"),
    ("ray.train.torch", "TorchTrainer", "fit", "_create_default_callbacks", "ReusingTorchTrainer"),
    (
        "ray.train.torch",
        "TorchTrainer",
        "_create_default_callbacks",
        "PlacementGroupCleanerCallback",
        "_UNUSED_CALLBACKS",
    ),
    ("ray.train.torch", "TorchTrainer", "_create_default_callbacks", "DatasetsCallback", "_UNUSED_CALLBACKS"),
)
"""Module, class, method, a name that the method uses, and which code of ours relies on that."""


@pytest.mark.parametrize(("module", "name", "method", "used", "used_by"), CALLS)
def test_method_of_ray_calls_what_we_replace(module: str, name: str, method: str, used: str, used_by: str) -> None:
    function = getattr(load(module, name, used_by), method)
    assert used in function.__code__.co_names, changed(f"{name}.{method}", f"does not use {used}", used_by)


CONSTANTS = (
    ("HEALTH_CHECK_INTERVAL_S_ENV_VAR", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "WORKER_ENV in tuning/cluster/connect.py"),
    (
        "WORKER_GROUP_START_TIMEOUT_S_ENV_VAR",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S",
        "WORKER_ENV in tuning/cluster/connect.py",
    ),
    ("ENABLE_PREEMPTION_WATCHER_ENV_VAR", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "ReusingTorchTrainer"),
    ("CHECKPOINT_MANAGER_SNAPSHOT_FILENAME", "checkpoint_manager_snapshot.json", "_SNAPSHOT in tuning/trial/driver.py"),
)


@pytest.mark.parametrize(("name", "value", "used_by"), CONSTANTS)
def test_constant_of_ray_train_is_as_we_set_it(name: str, value: str, used_by: str) -> None:
    assert load(f"{_INTERNAL}.constants", name, used_by) == value, changed(name, "has another value", used_by)


def test_tune_waits_for_the_driver_thread_of_the_last_trial() -> None:
    """A driver process gets its next trial only after the thread of the last one has stopped its workers and ended."""
    used_by = "WORKER_ENV in tuning/cluster/connect.py, and ReusingTorchTrainer, which expects SystemExit at a report"
    trainable = load("ray.tune.trainable.function_trainable", "FunctionTrainable", used_by)
    reset = trainable.reset_config
    assert "TUNE_FUNCTION_THREAD_TIMEOUT_S" in reset.__code__.co_consts, changed(
        "FunctionTrainable.reset_config", "does not read TUNE_FUNCTION_THREAD_TIMEOUT_S", used_by
    )
    report = load("ray.train._internal.session", "_TrainSession", used_by)._report_training_result
    assert "exit" in report.__code__.co_names, changed("_TrainSession.report", "does not exit the thread", used_by)
