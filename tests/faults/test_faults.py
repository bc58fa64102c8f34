"""Sweeps on real Ray processes that are killed, drained or out of disk space: the leaderboard stays the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.clusters import (
    CheckpointWatch,
    ClusterNode,
    FaultyCluster,
    PlacementGroupLog,
    alive,
    faulty_cluster,
    kill,
    logged_placement_groups,
    readers,
    truncate,
)
from tests.helpers.leaderboards import (
    ReferenceSweep,
    assert_same_results,
    assert_same_trials,
    logged_metrics,
    read_leaderboard,
)
from tests.helpers.processes import BackgroundCommand, succeeded, wait_for
from tests.helpers.sweep_runs import Workplace
from tests.helpers.video_files import moving_square, write_video
from tuning.training.checkpoint import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.faults]

EPOCHS = 24
RATES = (0.003, 0.002, 0.001, 0.0005, 0.0003, 0.0001)
SWEEP = ("space.arch=c3d", "space.num_frames=8", f"train.epochs={EPOCHS}", f"space.lr={list(RATES)}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, demo_clips: Path) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"), demo_clips)


@pytest.fixture(scope="module")
def cluster() -> Iterator[FaultyCluster]:
    """Two CPUs on one node."""
    with faulty_cluster(cpus=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(place: Workplace, cluster: FaultyCluster) -> ReferenceSweep:
    succeeded(place.run(place.sweep_command("undisturbed", f"--address={cluster.address}", *SWEEP), **cluster.login))
    return ReferenceSweep.of(place, "undisturbed")


@dataclass
class Evidence:
    """What was recorded of a sweep while its processes were killed."""

    killed: dict[str, int] = field(default_factory=dict)
    """Killed process by fault."""
    struck: dict[str, dict[str, int]] = field(default_factory=dict)
    """By fault, the trials that it hit, and how many checkpoints each had written by then."""
    trials_on: dict[str, set[str]] = field(default_factory=dict)
    """By node, the trials that ran on it."""
    epochs: dict[str, list[int]] = field(default_factory=dict)
    """By trial, the epochs of its checkpoints as they appeared."""


class Storm:
    """Fault after fault for one sweep."""

    def __init__(self, cluster: FaultyCluster, watch: CheckpointWatch, sweep: BackgroundCommand) -> None:
        self.cluster, self.watch, self.sweep, self.evidence = cluster, watch, sweep, Evidence()

    def record(self, fault: str, trials: set[str]) -> None:
        self.evidence.struck[fault] = {trial: len(self.watch.epochs(trial)) for trial in trials}

    def undisturbed_trials(self) -> set[str]:
        """Trials that no fault has hit yet and that are between the third epoch and half of all epochs."""
        hit = {trial for struck in self.evidence.struck.values() for trial in struck}
        return {trial for trial in set(self.watch.trials()) - hit if 3 <= max(self.watch.epochs(trial)) <= EPOCHS // 2}

    def kill_process(self, role: str) -> None:
        """Kill a trial's process within an epoch: the worker is suspended first, so that it writes no checkpoint."""

        def one() -> str | None:
            trials = self.undisturbed_trials()
            return next((each.trial for each in self.cluster.find("worker") if each.trial in trials), None)

        trial = self.sweep.wait_for(one, f"a trial whose {role} is to be killed")
        assert trial is not None
        (worker,) = self.cluster.find("worker", trial)
        kill(worker.pid, signal.SIGSTOP)
        self.watch.update()
        self.record(role, {trial})
        (process,) = self.cluster.find(role, trial)
        self.evidence.killed[role] = process.pid
        kill(process.pid)
        kill(worker.pid, signal.SIGCONT)
        self.sweep.wait_for(lambda: not alive(worker.pid), "a worker without its driver ends")

    def kill_node(self, fault: str, node: ClusterNode) -> None:
        workers = self.cluster.find("worker", on=node)
        for worker in workers:
            kill(worker.pid, signal.SIGSTOP)
        self.watch.update()
        self.record(fault, {worker.trial for worker in workers} - {""})
        self.evidence.killed[fault] = node.raylet
        self.cluster.kill_node(node)

    def wait_for_trials(self, name: str, node: ClusterNode, trials: int) -> None:
        """Wait until `trials` trials on a node have written three checkpoints there: Ray knows of the first."""

        def enough() -> set[str]:
            found = self.cluster.trials_on(node)
            return found if len(found) >= trials else set()

        found = self.sweep.wait_for(enough, f"trials on the {name} node")
        before = {trial: len(self.watch.epochs(trial)) for trial in found}
        self.evidence.trials_on[name] = found
        self.sweep.wait_for(
            lambda: all(len(self.watch.epochs(trial)) >= count + 3 for trial, count in before.items()),
            f"epochs on the {name} node",
        )

    @contextmanager
    def suspended(self, node: ClusterNode) -> Iterator[None]:
        """Suspend the two trials of a node within the context: they keep its slots."""
        self.sweep.wait_for(lambda: len(self.cluster.trials_on(node)) == 2, "two trials to suspend")
        workers = self.cluster.find("worker", on=node)
        for worker in workers:
            kill(worker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in workers:
                kill(worker.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def storm(place: Workplace, cluster: FaultyCluster, undisturbed: ReferenceSweep) -> Evidence:
    """Faults of six trials, two at a time on the first node; the others wait for a node to join."""
    run = place.folder / "runs/storm"
    command = place.sweep_command("storm", f"--address={cluster.address}", *SWEEP)
    (first,) = cluster.nodes
    with place.start(command, **cluster.login) as sweep, CheckpointWatch(run).running() as watch:
        storm = Storm(cluster, watch, sweep)
        storm.kill_process("worker")
        storm.kill_process("driver")
        with storm.suspended(first):
            storm.evidence.trials_on["first"] = cluster.trials_on(first)
            second = cluster.add_node(cpus=2)
            storm.wait_for_trials("second", second, trials=2)
            storm.kill_node("node", second)
            third = cluster.add_node(cpus=2)
            storm.wait_for_trials("third", third, trials=1)
            drained = cluster.find("worker", on=third)
            storm.record("notice", {each.trial for each in drained} - {""})
        cluster.drain_node(third, seconds=3)
        sweep.wait_for(lambda: not any(alive(each.pid) for each in drained), "the workers leave the drained node")
        storm.kill_node("spot", third)
        sweep.finish()
    storm.evidence.epochs = {trial: watch.epochs(trial) for trial in watch.trials()}
    return storm.evidence


def assert_resumed(storm: Evidence, fault: str, trial: str) -> None:
    """Not from the first epoch; Ray may not know of the checkpoint that was written last."""
    before, epochs = storm.struck[fault][trial], storm.epochs[trial]
    last, following = epochs[before - 1], epochs[before]
    assert last >= 3
    assert last - 1 <= following <= last + 1, epochs


def test_leaderboard_is_the_same_after_a_storm_of_faults(
    place: Workplace, storm: Evidence, undisturbed: ReferenceSweep
) -> None:
    assert_same_results(place, "storm", undisturbed)
    assert set(storm.epochs) == set(pd.read_csv(place.folder / "runs/storm/results.csv")["id"])


@pytest.mark.parametrize("role", ["worker", "driver"])
def test_trial_resumes_after_one_of_its_processes_is_killed(storm: Evidence, role: str) -> None:
    assert not alive(storm.killed[role])
    (trial,) = storm.struck[role]
    assert_resumed(storm, role, trial)


def test_node_that_joins_gets_trials(storm: Evidence) -> None:
    assert len(storm.trials_on["second"]) == 2
    assert not storm.trials_on["second"] & storm.trials_on["first"]


def test_trials_resume_after_their_node_is_killed(storm: Evidence) -> None:
    assert not alive(storm.killed["node"])
    assert len(storm.struck["node"]) == 2
    for trial in storm.struck["node"]:
        assert_resumed(storm, "node", trial)


def test_trials_leave_a_node_that_is_drained(storm: Evidence) -> None:
    assert storm.struck["notice"]
    for trial, before in storm.struck["notice"].items():
        # They may write some more checkpoints before they leave.
        assert storm.epochs[trial][before:] != []
        assert storm.epochs[trial].count(1) == 1
    assert not storm.struck["spot"], "no trial was left on the node when it was killed"


@dataclass
class Stops:
    """One sweep that is stopped in four ways and resumed after each."""

    epochs: dict[str, list[int]] = field(default_factory=dict)
    truncated: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By trial, how many checkpoints it had when its last one was truncated, and the epoch of the one before."""
    unfinished: dict[str, list[str]] = field(default_factory=dict)
    """By stop, the trials that were running."""
    interrupted: tuple[int, str] = (0, "")
    """Exit code and output after one Ctrl-C."""
    headless: tuple[int, str] = (0, "")
    """Exit code and output after the head was killed."""
    output: str = ""
    """Output of the last process."""


@pytest.fixture(scope="module")
def stops(place: Workplace, cluster: FaultyCluster, undisturbed: ReferenceSweep) -> Stops:
    run, stops = place.folder / "runs/stops", Stops()
    new = place.sweep_command("stops", f"--address={cluster.address}", *SWEEP)
    resume = [*new[: new.index("--config")], f"--address={cluster.address}", "--resume", "stops"]
    # The default of 60 s is how long a process waits for a head that is gone.
    environment = {**cluster.login, "RAY_gcs_rpc_server_reconnect_timeout_s": "10"}

    @contextmanager
    def running(command: list[str], stop: str, epochs: int) -> Iterator[BackgroundCommand]:
        """Start or resume the sweep; enter the context when two trials have written `epochs` more checkpoints."""
        with place.start(command, **environment) as sweep:
            before = {trial: len(watch.epochs(trial)) for trial in watch.trials()}

            def advanced() -> list[str]:
                more = {trial: len(watch.epochs(trial)) - before.get(trial, 0) for trial in watch.trials()}
                found = [trial for trial, count in more.items() if count >= epochs]
                return found if len(found) >= 2 else []

            stops.unfinished[stop] = sweep.wait_for(advanced, f"two trials with new epochs before {stop}")
            yield sweep

    with CheckpointWatch(run).running() as watch:
        with running(new, "first kill", 3) as sweep:
            sweep.send_signal(signal.SIGKILL)
        wait_for(lambda: not cluster.find("worker"), "the killed sweep's workers end")
        one, other = stops.unfinished["first kill"]
        for trial, name in ((one, "training.pt"), (other, "model.pt")):
            *_, before, last = sorted((run / "ray/trials" / trial).glob("checkpoint_*/"))
            truncate(last / name)
            stops.truncated[trial] = len(watch.epochs(trial)), read_manifest(before).epoch
        truncate(run / "ray/trials" / other / "checkpoint_manager_snapshot.json")
        with running(resume, "second kill", 2) as sweep:
            sweep.send_signal(signal.SIGKILL)
        with running(resume, "Ctrl-C", 2) as sweep:
            sweep.send_signal(signal.SIGINT)
            stops.interrupted = sweep.wait(), sweep.output
        with running(resume, "head", 2) as sweep:
            cluster.kill_all()
            stops.headless = sweep.wait(), sweep.output
        cluster.start_head()
        cluster.add_node(cpus=2)
        with place.start(resume, **environment) as sweep:
            stops.output = sweep.finish()
    stops.epochs = {trial: watch.epochs(trial) for trial in watch.trials()}
    return stops


def test_leaderboard_is_the_same_after_stops(place: Workplace, stops: Stops, undisturbed: ReferenceSweep) -> None:
    assert_same_results(place, "stops", undisturbed)
    assert all(stops.unfinished.values()), "trials were running at each stop"
    assert re.search(r"frame store: 0 clips decoded", stops.output)


def test_trial_with_a_truncated_checkpoint_resumes_from_the_one_before(stops: Stops) -> None:
    assert len(stops.truncated) == 2
    for trial, (written, before) in stops.truncated.items():
        assert before >= 1
        assert stops.epochs[trial][written] == before + 1, stops.epochs[trial]


def test_no_stop_restarts_a_trial_from_its_first_epoch(stops: Stops) -> None:
    for trial in {trial for trials in stops.unfinished.values() for trial in trials}:
        assert stops.epochs[trial].count(1) == 1, stops.epochs[trial]


def test_ctrl_c_stops_cleanly_and_says_how_to_resume(stops: Stops) -> None:
    code, output = stops.interrupted
    assert code == 130
    assert output.rstrip().endswith("resume with: python -m tuning sweep --resume stops")
    assert "Traceback" not in output


def test_sweep_that_loses_its_head_says_how_to_resume(stops: Stops) -> None:
    code, output = stops.headless
    assert code != 0
    assert "resume with: python -m tuning sweep --resume stops" in output
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def side_by_side(place: Workplace, cluster: FaultyCluster, undisturbed: ReferenceSweep) -> tuple[str, str]:
    """The same trials as two concurrent sweeps, on one cluster and one MLflow."""

    def command(name: str, rates: Sequence[float]) -> list[str]:
        settings = [*SWEEP[:-1], f"space.lr={list(rates)}", "resources.max_concurrent=1"]
        return place.sweep_command(name, f"--address={cluster.address}", *settings)

    with (
        place.start(command("left", RATES[:3]), **cluster.login) as left,
        place.start(command("right", RATES[3:]), **cluster.login) as right,
    ):
        left.wait_for(lambda: len(cluster.find("worker")) == 2, "a trial of each sweep, concurrently")
        left.finish()
        right.finish()
    return "left", "right"


def test_concurrent_sweeps_do_not_mix(
    place: Workplace, side_by_side: tuple[str, str], undisturbed: ReferenceSweep
) -> None:
    tables = pd.concat([read_leaderboard(place, name) for name in side_by_side]).sort_values("lr", ignore_index=True)
    expected = undisturbed.leaderboard.sort_values("lr", ignore_index=True)
    pd.testing.assert_frame_equal(tables, expected, check_exact=True)
    left, right = (logged_metrics(place, name) for name in side_by_side)
    assert (set(left), set(right)) == (set(RATES[:3]), set(RATES[3:]))
    assert left | right == undisturbed.metrics


@pytest.fixture(scope="module")
def full_disk(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, str]:
    """Two trials whose disk is full for a while, and the output; what they left is copied from the disk."""
    place = Workplace(tmp_path_factory.mktemp("full"), demo_clips)
    copy = place.folder / "copy"
    copy.mkdir()
    own_mounts = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    command = place.sweep_command("full", *SWEEP[:-1], f"space.lr={list(RATES[:2])}", "resources.max_concurrent=2")
    done = succeeded(place.run([*own_mounts, sys.executable, "-m", "tests.faults.full_disk", str(copy), *command]))
    (place.folder / "runs").rmdir()
    copy.rename(place.folder / "runs")
    return place, done.stdout


def test_trials_wait_while_their_disk_is_full(full_disk: tuple[Workplace, str], undisturbed: ReferenceSweep) -> None:
    place, output = full_disk
    assert "the disk is full\nthe sweep waits\n" in output
    assert "ray/trials is full: trials wait until you free disk space" in output
    assert_same_trials(place, "full", RATES[:2], undisturbed)


STOPPED_RATE = 1e-7
TOO_WIDE = 10**11


@dataclass
class Rough:
    """A sweep with a clip that crashes the decoder, a trial that is stopped early and one that runs out of memory."""

    run: Path
    output: str
    held: float
    """Seconds from the stopped trial's last epoch until the next trial had its slot."""
    placement_groups: PlacementGroupLog
    """The placement groups that held CPUs in the meantime."""


@pytest.fixture(scope="module")
def rough(
    place: Workplace, cluster: FaultyCluster, undisturbed: ReferenceSweep, tmp_path_factory: pytest.TempPathFactory
) -> Rough:
    clips = tmp_path_factory.mktemp("rough") / "clips"
    shutil.copytree(place.clips, clips)
    split = pd.read_csv(place.folder / "runs/undisturbed/split.csv", dtype=str)
    row = split[split["split"] == "train"].iloc[-1]
    crash = Path(row["path"]).with_name("crash.mp4")
    write_video(clips / crash, moving_square(0, count=400, height=480, width=640))
    lines = [split, pd.DataFrame([{**row, "path": str(crash)}])]
    pd.concat(lines).to_csv(clips.parent / "split.csv", index=False)
    space = f"c3d: {{lr: [{RATES[2]}, {STOPPED_RATE}]}}, resnet18: {{options: {{hidden: [{TOO_WIDE}]}}}}"
    new = place.sweep_command("rough", f"--address={cluster.address}", *SWEEP[1:-1], "space.lr=[0.002]")
    for option, value in (("--data", clips), ("--groups", clips.parent / "split.csv")):
        new[new.index(option) + 1] = str(value)
    new[new.index("--groups")] = "--split"
    asha = "search.asha={grace_epochs: 4, reduction_factor: 2}"
    settings = ["space.arch=[c3d,resnet18]", f"space.by_arch={{{space}}}", asha, "resources.max_concurrent=1"]
    run = place.folder / "runs/rough"
    with (
        logged_placement_groups(cluster, clips.parent / "placement_groups") as read_log,
        place.start([*new, *settings, "data.max_failed=0.1"], **cluster.login) as sweep,
    ):
        # The process that decodes the clip crashes.
        reader = sweep.wait_for(lambda: readers(clips / crash), "the clip is read")
        kill(reader[0], signal.SIGSEGV)
        output = sweep.finish()
        ended = time.time()
        wait_for(lambda: read_log().entries[-1][0] > ended, "the placement groups are logged once more")
        log = read_log()
    table = pd.read_csv(run / "results.csv").set_index("lr")
    events = [json.loads(line) for line in (run / "mlflow.jsonl").read_text().splitlines()]
    stopped = table.loc[STOPPED_RATE, "id"]
    last = max(each["time"] for each in events if each["what"] == "epoch done" and each["trial"] == stopped)
    following = min(each["time"] for each in events if each["what"] == "trial started" and each["time"] > last)
    return Rough(run, output, (following - last) / 1000, log)


def test_clip_that_crashes_the_decoder_is_skipped_by_name(rough: Rough) -> None:
    (line,) = (line for line in rough.output.splitlines() if "crash.mp4 is left out" in line)
    assert "crashed (exit code -11)" in line
    defects = pd.read_csv(rough.run / "defects.csv").set_index("what")
    assert Path(defects.loc["left out", "path"]).name == "crash.mp4"


def test_only_the_trial_that_runs_out_of_memory_fails(
    rough: Rough, place: Workplace, undisturbed: ReferenceSweep
) -> None:
    results = pd.read_csv(rough.run / "results.csv").set_index("arch")
    assert results.loc["resnet18", "status"] == "error"
    assert "memory" in results.loc["resnet18", "reason"]
    assert f"error      {results.loc['resnet18', 'id']}: " in rough.output
    assert_same_trials(place, "rough", RATES[2:3], undisturbed)


def test_trial_that_is_stopped_early_frees_its_slot(rough: Rough) -> None:
    results = pd.read_csv(rough.run / "results.csv").set_index("lr")
    assert results.loc[STOPPED_RATE, "status"] == "stopped"
    # An idle machine takes less than one second. After 120 s Tune would have given up waiting for the trial to stop.
    assert rough.held < 100
    assert rough.placement_groups.most == 1, "one trial at a time"
    assert not rough.placement_groups.entries[-1][1], "no placement group is left once the sweep has ended"
