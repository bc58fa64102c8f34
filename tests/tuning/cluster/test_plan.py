"""How a sweep shares out clusters that this machine can't be: nodes and measured needs are given."""

from __future__ import annotations

import math
from typing import Any

import pytest

from data.store.build_report import LabelledFrames
from tuning.cluster.address import ClusterError
from tuning.cluster.placement import Node, needed_memory, plan_slots
from tuning.cluster.plan import Plan, make_plan, spoken
from tuning.cluster.profile_task import Failure, Measured
from tuning.config.load import parse_config
from tuning.config.schema.resources import ResourcesConfig
from tuning.config.schema.store import StoreConfig
from tuning.config.sweep_config import SweepConfig
from tuning.errors import ConfigError
from tuning.training.profile import TrialProfile
from tuning.training.trial_data import FoldClips, TrialData
from tuning.trial.spec import DRIVER_MEMORY, Slot

GB = 10**9
HEAD = Node("head", 0, 0, 8 * GB)
LAPTOP = Node("laptop", 2, 0, 16 * GB)
CPU_NODE = Node("cpu", 16, 0, 64 * GB)
GPU_NODE = Node("gpu", 16, 2, 128 * GB)


def demand(arch: str = "resnet18", **values: Any) -> TrialProfile:
    usual = {
        "num_frames": 16,
        "device": "cpu",
        "at_once": 16,
        "micro_batch": 16,
        "memory": GB,
        "folds": 1,
        "loader_memory": 0,
        "loader_workers": None,
        "train_seconds": 0.1,
        "val_seconds": 0.05,
        "build_seconds": 1.0,
    }
    return TrialProfile.model_validate({"arch": arch, **usual, **values})


def on_gpu(arch: str = "resnet18", gpu_memory: float = 8, busy: float | None = 0.3, **values: Any) -> TrialProfile:
    return demand(arch, device="GPU", gpu_memory=int(gpu_memory * GB), gpu_busy=busy, **values)


def measured(*demands: TrialProfile, gpu: float = 80, **values: Any) -> Measured:
    memory = int(gpu * GB) if any(each.gpu_memory for each in demands) else None
    return Measured(demands=demands, gpu_memory=memory, **values)


def slot_of(nodes: list[Node], found: Measured, **resources: float) -> tuple[Slot, int]:
    return plan_slots(ResourcesConfig.model_validate(resources), nodes, found)


@pytest.mark.parametrize(
    ("needs", "gpu", "gpus"),
    [
        ([on_gpu(busy=0.3)], 80, 0.25),
        ([on_gpu(busy=0.45)], 80, 0.3333),
        ([on_gpu(busy=0.6)], 80, 0.5),
        ([on_gpu(busy=0.95)], 80, 1.0),
        ([on_gpu(busy=None)], 80, 1.0),
        ([on_gpu(busy=0.3)], 24, 0.5),
        ([on_gpu(busy=0.3)], 16, 1.0),
        ([on_gpu(busy=0.3), on_gpu("c3d", gpu_memory=30)], 80, 0.5),
        ([on_gpu(busy=0.3), on_gpu("c3d", busy=0.9)], 80, 1.0),
        ([on_gpu(gpu_memory=30)], 24, 1.0),
        ([], 80, 1.0),
    ],
)
def test_a_gpu_holds_as_many_as_fit_and_keep_it_busy(needs: list[TrialProfile], gpu: float, gpus: float) -> None:
    slot, at_once = slot_of([HEAD, GPU_NODE], measured(*needs, gpu=gpu))
    assert slot.gpus == gpus
    assert at_once == 2 * math.floor(1 / gpus)
    assert at_once * slot.cpus <= GPU_NODE.cpus


def test_trials_that_share_a_gpu_have_two_cpus_each_and_room_in_main_memory() -> None:
    small = Node("small", 4, 1, 64 * GB)
    assert slot_of([small], measured(on_gpu()))[0].gpus == 0.5
    assert slot_of([GPU_NODE, small], measured(on_gpu()))[0].gpus == 0.5
    assert slot_of([small], measured(on_gpu()), cpus=1)[0].gpus == 0.25
    assert slot_of([small], measured(on_gpu(memory=40 * GB)))[0].gpus == 1


def test_what_is_set_is_taken_as_it_is() -> None:
    found = measured(on_gpu())
    assert slot_of([GPU_NODE], found, gpus=1)[0].gpus == 1
    assert slot_of([GPU_NODE], found, workers=2)[0].gpus == 1
    slot, _ = slot_of([GPU_NODE], found, memory=3.5)
    assert slot.memory == 3_500_000_000
    failed = found.model_copy(update={"failures": (Failure(arch="c3d", reason="x"),)})
    assert slot_of([GPU_NODE], failed)[0].gpus == 1


def test_ddp_on_part_of_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gpus is 0.5 and workers is 2: NCCL refuses .* \(gpus=1\), or set workers"):
        parse_config({"resources": {"workers": 2, "gpus": 0.5}})


def test_memory_is_asked_for_with_loaders_other_processes_and_a_margin() -> None:
    slot = Slot(workers=1, cpus=3, gpus=1)
    found = measured(on_gpu(memory=2 * GB, loader_memory=GB // 4, folds=2), import_memory=GB)
    # Two loader processes for each of two loaders of two folds; a driver of 1 GB.
    assert needed_memory(found, slot) == pytest.approx((2 * GB + 8 * GB / 4) * 1.1 + GB - DRIVER_MEMORY)
    assert needed_memory(measured(demand(loader_memory=GB, loader_workers=3)), Slot(workers=1, cpus=1, gpus=0)) == (
        pytest.approx(7 * GB * 1.1)
    )
    assert needed_memory(Measured(), slot) is None


def test_memory_limits_how_many_run_at_once_but_never_refuses_what_was_measured() -> None:
    node = Node("", 8, 0, 10 * GB)
    slot, at_once = slot_of([node], measured(demand(memory=2 * GB)))
    assert (slot.memory, at_once) == (2_200_000_000, 4)
    slot, at_once = slot_of([node], measured(demand(memory=20 * GB)))
    assert (slot.memory, at_once) == (10 * GB - DRIVER_MEMORY, 1)
    # Drivers of trials that wait hold their memory too.
    slot, _ = slot_of([node], measured(demand(memory=20 * GB)), max_concurrent=4)
    assert slot.memory == 10 * GB - 4 * DRIVER_MEMORY
    # Ray tells of no memory.
    assert slot_of([Node("", 8, 0, math.inf)], measured(demand()))[1] == 8


def test_too_much_memory_that_was_set_is_refused() -> None:
    with pytest.raises(
        ClusterError, match=r"and 40 GB, the largest node has 2 CPU and 0 GPU and 16 GB for workers; .* re"
    ):
        slot_of([LAPTOP], Measured(), memory=40)


CLIP = LabelledFrames("a.mp4", "0" * 64, 0)


def planned(nodes: list[Node], found: Measured | None = None, folds: int = 1, **settings: Any) -> Plan:
    space = {"arch": ["resnet18"], "num_frames": [16], "lr": [1e-3], **settings.pop("space", {})}
    config: SweepConfig = parse_config({"space": space, "train": {"epochs": 10}, **settings})
    store = StoreConfig()
    rounds = (FoldClips(train=(CLIP,) * 100, val=(CLIP,) * 20),) * folds
    data = TrialData(
        classes=("a", "b"), split_sha256="", frame_store=store, decode=store.decode_settings(), folds=rounds
    )
    return make_plan(config, data, found or measured(demand()), nodes)


def test_the_time_is_that_of_all_epochs_of_all_trials_in_turn() -> None:
    one = planned([LAPTOP], space={"sampler": ["imbalanced"]})
    # 100 training clips and 20 validation clips an epoch, and what is not computing.
    assert one.seconds is not None
    assert 110 < one.seconds < 125
    assert one.ends_early
    two = planned([LAPTOP])
    assert (two.trials, two.at_once) == (2, 2)
    assert two.seconds == one.seconds
    assert planned([LAPTOP], space={"lr": [1e-3, 1e-4]}).seconds == 2 * one.seconds
    three_folds = planned([LAPTOP], folds=3).seconds
    assert three_folds is not None
    assert three_folds > 2.8 * one.seconds
    half = planned([LAPTOP], space={"num_frames": [8], "sampler": ["imbalanced"]}).seconds
    assert half is not None
    assert 0.5 < half / one.seconds < 0.6


def test_finalists_and_draws_take_their_time() -> None:
    search: dict[str, Any] = {"algorithm": "random", "trials": 6, "asha": None}
    space: dict[str, Any] = {"lr": {"low": 1e-4, "high": 1e-2}}
    plan = planned([LAPTOP], search=search, space=space)
    final = planned([LAPTOP], search={**search, "finalists": {"top": 2, "seeds": 3}}, space=space)
    assert plan.seconds is not None
    assert final.seconds == 2 * plan.seconds
    assert (final.trials, final.finalists) == (6, 6)
    assert "6 trials, then 6 of finalists, 2 at once on 1 node(s)" in final.text()
    assert "less where" not in final.text()


def test_trials_that_share_a_gpu_slow_each_other_down_once_it_is_full() -> None:
    # Of 10 epochs, 110 s of a trial compute.
    apart, idle, full = (
        planned([GPU_NODE], measured(on_gpu(busy=busy)), resources={"gpus": gpus}).seconds or 0
        for busy, gpus in ((0.9, 1), (0.5, 0.5), (0.9, 0.5))
    )
    assert idle == apart
    assert full - apart == pytest.approx(110 * 0.8)


def test_where_an_architecture_was_not_measured_no_time_is_foretold() -> None:
    plan = planned([LAPTOP], measured(demand("c3d")))
    assert plan.seconds is None
    assert "estimate" not in plan.text()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "10 s"),
        (61, "70 s"),
        (100, "2 min"),
        (3500, "59 min"),
        (3590, "1 h"),
        (4150, "1 h 10 min"),
        (7200, "2 h"),
        (90000, "25 h"),
    ],
)
def test_times_are_spoken_as_exactly_as_they_are_known(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_a_plan_reads_as_text() -> None:
    assert planned([HEAD, LAPTOP, GPU_NODE], measured(on_gpu(busy=0.9))).text().splitlines() == [
        "plan: 2 trials, 2 at once on 1 node(s) with room for workers: gpu (2)",
        "      each trial takes 1 worker(s) of 8 CPU and 1 GPU and 1.1 GB",
        "      estimate: at most about 2 min, less where trials are stopped early",
    ]
    none_yet = planned([HEAD], Measured(), resources={"gpus": 1, "max_concurrent": 2})
    assert "2 at once on nodes yet to come" in none_yet.text()


MANY = {"lr": [1e-3, 3e-4, 1e-4, 3e-5, 1e-5], "sampler": ["imbalanced", "balanced"], "num_frames": [8, 16]}


@pytest.mark.parametrize(
    ("nodes", "found", "settings", "warning"),
    [
        ([CPU_NODE], None, {}, "2 trial(s) leave 14 of 16 places empty: resources.cpus=8 gives each more CPUs"),
        ([GPU_NODE, GPU_NODE], measured(on_gpu(busy=0.9)), {}, "resources.workers=2 gives each trial more GPUs"),
        ([GPU_NODE], measured(on_gpu()), {}, "resources.gpus=1 gives each a GPU of its own"),
        ([CPU_NODE], None, {"resources": {"max_concurrent": 1}}, "max_concurrent is 1, but 16 trials would fit"),
        (
            [GPU_NODE],
            None,
            {"space": MANY, "resources": {"cpus": 16}},
            "1 GPU(s) stay idle, since CPUs run out first: lower resources.cpus (16 a worker)",
        ),
        (
            [Node("", 16, 2, 8 * GB)],
            None,
            {"space": MANY, "resources": {"memory": 6}},
            "1 GPU(s) stay idle, since memory runs out first: lower resources.memory (6 GB a worker)",
        ),
        (
            [GPU_NODE],
            None,
            {"space": MANY, "resources": {"gpus": 0.6}},
            "0.4 of each GPU stays idle: resources.gpus=0.6 fits 1 time(s) on one; 1 gives",
        ),
        ([GPU_NODE], None, {"space": MANY, "resources": {"gpus": 2}}, "set resources.workers=2 and resources.gpus=1"),
        (
            [Node("", 16, 3, 64 * GB)],
            None,
            {"space": MANY, "resources": {"gpus": 2}},
            "1 GPU(s) stay idle: resources.gpus=2 does not divide",
        ),
        (
            [GPU_NODE, CPU_NODE],
            measured(on_gpu(busy=0.9)),
            {"space": MANY},
            "1 node(s) without GPU, 16 CPUs in all, stay idle",
        ),
        (
            [Node("", 16, 0, 8 * GB)],
            measured(demand(memory=3 * GB)),
            {"space": MANY},
            "14 CPUs stay idle, since memory runs out first (3.3 GB a worker)",
        ),
        ([CPU_NODE], None, {"space": MANY, "resources": {"cpus": 6}}, "4 CPUs stay idle: resources.cpus=6 does not"),
        ([CPU_NODE], None, {"space": MANY, "resources": {"workers": 3}}, "1 of 16 places for workers stay empty"),
        (
            [LAPTOP],
            measured(demand(memory=40 * GB)),
            {},
            "the largest node has room for 16 GB a worker, but 44 GB were measured",
        ),
        ([LAPTOP], measured(demand(memory=2 * GB)), {"resources": {"memory": 1}}, "resources.memory is 1 GB a worker"),
        (
            [GPU_NODE],
            measured(on_gpu(micro_batch=4)),
            {},
            "resnet18 at 16 frames has room on the GPU for 4 clips at once, not 16",
        ),
        (
            [GPU_NODE],
            measured(failures=(Failure(arch="c3d", reason="", too_large=True),)),
            {},
            "not one clip at a time of c3d fits onto the GPU: lower space.num_frames",
        ),
    ],
)
def test_what_will_idle_is_said_with_its_mend(
    nodes: list[Node], found: Measured | None, settings: dict[str, Any], warning: str
) -> None:
    plan = planned(nodes, found, **settings)
    assert any(warning in each for each in plan.warnings), plan.warnings
    assert f"warning: {plan.warnings[0]}" in plan.text()


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([HEAD, LAPTOP], None),
        ([HEAD, GPU_NODE], measured(on_gpu(busy=0.9))),
        ([LAPTOP, GPU_NODE], measured(on_gpu(busy=0.3))),
        ([Node("", 17, 0, 64 * GB)], None),
        ([Node("", 16, 4, 64 * GB), Node("", 17, 4, 64 * GB)], measured(on_gpu(busy=0.3, gpu_memory=60))),
    ],
)
def test_a_cluster_that_is_used_is_not_warned_of(nodes: list[Node], found: Measured | None) -> None:
    assert planned(nodes, found, space=MANY).warnings == ()
