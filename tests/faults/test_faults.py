"""Sweeps on real Ray processes that are killed, drained and starved: nothing is lost, the leaderboard is the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.faults.clusters import (
    FaultyCluster,
    Node,
    Places,
    Watch,
    alive,
    faulty_cluster,
    kill,
    readers,
    truncate,
    wait_for,
    watched_places,
)
from tests.helpers.leaderboards import (
    ReferenceSweep,
    assert_same_results,
    assert_same_trials,
    logged_metrics,
    read_leaderboard,
)
from tests.helpers.sweep_runs import Workplace, succeeded
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


@contextmanager
def sweeping(place: Workplace, command: list[str], **login: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep on its way, its output in `sweep.out`. What is left of it at the end is killed."""
    with (place.folder / "sweep.out").open("w") as out:
        sweep = subprocess.Popen(
            command,
            cwd=place.folder,
            env={**place.environment, **login},
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        yield sweep
    finally:
        kill(sweep.pid)
        sweep.wait()


def ended_well(place: Workplace, sweep: subprocess.Popen[str]) -> str:
    """What a sweep printed, once it has ended as it should."""
    code = sweep.wait(timeout=900)
    output = (place.folder / "sweep.out").read_text()
    assert code == 0, output[-6000:]
    return output


@dataclass
class Evidence:
    """What was seen of a sweep while faults befell it."""

    killed: dict[str, int] = field(default_factory=dict)
    """By fault, the process."""
    struck: dict[str, dict[str, int]] = field(default_factory=dict)
    """By fault, the trials it struck, and how many checkpoints each had written by then."""
    moved: dict[str, set[str]] = field(default_factory=dict)
    """By node, the trials that were seen there."""
    epochs: dict[str, list[int]] = field(default_factory=dict)
    """By trial, of its checkpoints as they appeared."""


class Storm:
    """Strikes one sweep again and again."""

    def __init__(self, cluster: FaultyCluster, watch: Watch, sweep: subprocess.Popen[str]) -> None:
        self.cluster, self.watch, self.sweep, self.seen = cluster, watch, sweep, Evidence()

    def wait(self, condition: Any, what: str) -> Any:
        def checked() -> Any:
            assert self.sweep.poll() is None, f"the sweep ended before: {what}"
            return condition()

        return wait_for(checked, what)

    def strike(self, fault: str, trials: set[str]) -> None:
        self.seen.struck[fault] = {trial: len(self.watch.epochs(trial)) for trial in trials}

    def in_the_middle(self) -> set[str]:
        """Trials that no process was killed of yet, with epochs behind them and before them."""
        fresh = set(self.watch.trials()) - {trial for struck in self.seen.struck.values() for trial in struck}
        return {trial for trial in fresh if 3 <= max(self.watch.epochs(trial)) <= EPOCHS // 2}

    def kill_process(self, role: str) -> None:
        """In the middle of an epoch: the trial's worker is stopped first, so that no checkpoint comes between."""

        def one() -> str | None:
            fresh = self.in_the_middle()
            return next((each.trial for each in self.cluster.find("worker") if each.trial in fresh), None)

        trial = self.wait(one, f"a trial whose {role} is to be killed")
        (worker,) = self.cluster.find("worker", trial)
        kill(worker.pid, signal.SIGSTOP)
        self.watch.look()
        self.strike(role, {trial})
        (process,) = self.cluster.find(role, trial)
        self.seen.killed[role] = process.pid
        kill(process.pid)
        kill(worker.pid, signal.SIGCONT)
        self.wait(lambda: not alive(worker.pid), "a worker without its driver ends")

    def kill_node(self, fault: str, node: Node) -> None:
        workers = self.cluster.find("worker", on=node)
        for worker in workers:
            kill(worker.pid, signal.SIGSTOP)
        self.watch.look()
        self.strike(fault, {worker.trial for worker in workers} - {""})
        self.seen.killed[fault] = node.raylet
        self.cluster.kill_node(node)

    def see(self, name: str, node: Node, trials: int) -> None:
        """Until so many trials are on the node, each having written three checkpoints since: Ray knows of the first."""
        on_it = self.wait(lambda: len(found := self.cluster.trials_on(node)) >= trials and found, f"trials on {name}")
        before = {trial: len(self.watch.epochs(trial)) for trial in on_it}
        self.seen.moved[name] = on_it
        self.wait(lambda: all(len(self.watch.epochs(t)) >= n + 3 for t, n in before.items()), f"epochs on {name}")

    @contextmanager
    def frozen(self, node: Node) -> Iterator[None]:
        """Two trials hold their places on a node, however long the rest takes."""
        self.wait(lambda: len(self.cluster.trials_on(node)) == 2, "two trials to freeze")
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
    """Six trials: two at a time on the node that is there; others wait for a node to come."""
    run = place.folder / "runs/storm"
    command = place.sweep_command("storm", f"--address={cluster.address}", *SWEEP)
    (first,) = cluster.nodes
    with sweeping(place, command, **cluster.login) as sweep, Watch(run).running() as watch:
        storm = Storm(cluster, watch, sweep)
        storm.kill_process("worker")
        storm.kill_process("driver")
        with storm.frozen(first):
            storm.seen.moved["first"] = cluster.trials_on(first)
            second = cluster.add_node(cpus=2)
            storm.see("second", second, trials=2)
            storm.kill_node("node", second)
            third = cluster.add_node(cpus=2)
            storm.see("third", third, trials=1)
            told = cluster.find("worker", on=third)
            storm.strike("notice", {each.trial for each in told} - {""})
        cluster.drain_node(third, seconds=3)
        storm.wait(lambda: not any(alive(each.pid) for each in told), "the node with notice is left")
        storm.kill_node("spot", third)
        ended_well(place, sweep)
    storm.seen.epochs = {trial: watch.epochs(trial) for trial in watch.trials()}
    return storm.seen


def assert_gone_on(storm: Evidence, fault: str, trial: str) -> None:
    """Not from its beginning: of what was written last Ray may not have heard yet."""
    before, epochs = storm.struck[fault][trial], storm.epochs[trial]
    last, following = epochs[before - 1], epochs[before]
    assert last >= 3
    assert last - 1 <= following <= last + 1, epochs


def test_a_storm_of_faults_changes_no_figure(place: Workplace, storm: Evidence, undisturbed: ReferenceSweep) -> None:
    assert_same_results(place, "storm", undisturbed)
    assert set(storm.epochs) == set(pd.read_csv(place.folder / "runs/storm/results.csv")["id"])


@pytest.mark.parametrize("role", ["worker", "driver"])
def test_a_trial_goes_on_when_one_of_its_processes_is_killed(storm: Evidence, role: str) -> None:
    assert not alive(storm.killed[role])
    (trial,) = storm.struck[role]
    assert_gone_on(storm, role, trial)


def test_a_node_that_joins_gets_trials(storm: Evidence) -> None:
    assert len(storm.moved["second"]) == 2
    assert not storm.moved["second"] & storm.moved["first"]


def test_two_trials_go_on_when_their_node_is_killed(storm: Evidence) -> None:
    assert not alive(storm.killed["node"])
    assert len(storm.struck["node"]) == 2
    for trial in storm.struck["node"]:
        assert_gone_on(storm, "node", trial)


def test_trials_leave_a_node_that_gives_notice(storm: Evidence) -> None:
    assert storm.struck["notice"]
    for trial, before in storm.struck["notice"].items():
        # They may write some more until it is time.
        assert storm.epochs[trial][before:] != []
        assert storm.epochs[trial].count(1) == 1
    assert not storm.struck["spot"], "none was left on it when it went"


@dataclass
class Stops:
    """One sweep that is stopped in four ways and resumed each time."""

    epochs: dict[str, list[int]] = field(default_factory=dict)
    damaged: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By trial, how many checkpoints it had written when its last one was damaged, and the epoch of the one before."""
    unfinished: dict[str, list[str]] = field(default_factory=dict)
    """By stop, the trials that were on their way."""
    interrupted: tuple[int, str] = (0, "")
    """Exit code and output after one Ctrl-C."""
    headless: tuple[int, str] = (0, "")
    """The same once the head had gone."""
    output: str = ""
    """Of the last process."""


@pytest.fixture(scope="module")
def stops(place: Workplace, cluster: FaultyCluster, undisturbed: ReferenceSweep) -> Stops:
    run, seen = place.folder / "runs/stops", Stops()
    new = place.sweep_command("stops", f"--address={cluster.address}", *SWEEP)
    resume = [*new[: new.index("--config")], f"--address={cluster.address}", "--resume", "stops"]
    # Else a process whose head has gone waits for it for a minute.
    login = {**cluster.login, "RAY_gcs_rpc_server_reconnect_timeout_s": "10"}

    def go(command: list[str], stop: str, epochs: int, watch: Watch) -> Iterator[subprocess.Popen[str]]:
        """Until two trials have written so many more checkpoints; then what is to happen to the process."""
        with sweeping(place, command, **login) as sweep:
            before = {trial: len(watch.epochs(trial)) for trial in watch.trials()}

            def moved() -> list[str]:
                assert sweep.poll() is None, (place.folder / "sweep.out").read_text()[-4000:]
                more = {trial: len(watch.epochs(trial)) - before.get(trial, 0) for trial in watch.trials()}
                return [trial for trial, count in more.items() if count >= epochs]

            wait_for(lambda: len(moved()) >= 2, f"trials on their way before {stop}")
            seen.unfinished[stop] = moved()
            yield sweep

    with Watch(run).running() as watch:
        for sweep in go(new, "first kill", 3, watch):
            os.killpg(sweep.pid, signal.SIGKILL)
        wait_for(lambda: not cluster.find("worker"), "the killed sweep's workers are gone")
        one, other = seen.unfinished["first kill"]
        for trial, name in ((one, "training.pt"), (other, "model.pt")):
            *_, before, last = sorted((run / "ray/trials" / trial).glob("checkpoint_*/"))
            truncate(last / name)
            seen.damaged[trial] = len(watch.epochs(trial)), read_manifest(before).epoch
        truncate(run / "ray/trials" / other / "checkpoint_manager_snapshot.json")
        for sweep in go(resume, "second kill", 2, watch):
            os.killpg(sweep.pid, signal.SIGKILL)
        for sweep in go(resume, "Ctrl-C", 2, watch):
            # As a terminal does: to all of its processes.
            os.killpg(sweep.pid, signal.SIGINT)
            seen.interrupted = sweep.wait(timeout=300), (place.folder / "sweep.out").read_text()
        for sweep in go(resume, "head", 2, watch):
            cluster.kill_all()
            seen.headless = sweep.wait(timeout=300), (place.folder / "sweep.out").read_text()
        cluster.start_head()
        cluster.add_node(cpus=2)
        with sweeping(place, resume, **login) as sweep:
            seen.output = ended_well(place, sweep)
    seen.epochs = {trial: watch.epochs(trial) for trial in watch.trials()}
    return seen


def test_stops_of_the_sweep_change_no_figure(place: Workplace, stops: Stops, undisturbed: ReferenceSweep) -> None:
    assert_same_results(place, "stops", undisturbed)
    assert all(stops.unfinished.values()), "something was on its way at each"
    assert re.search(r"frame store: 0 clips decoded", stops.output)


def test_a_trial_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before(stops: Stops) -> None:
    assert len(stops.damaged) == 2
    for trial, (written, before) in stops.damaged.items():
        assert before >= 1
        assert stops.epochs[trial][written] == before + 1, stops.epochs[trial]


def test_no_stop_makes_a_trial_begin_again(stops: Stops) -> None:
    for trial in {trial for trials in stops.unfinished.values() for trial in trials}:
        assert stops.epochs[trial].count(1) == 1, stops.epochs[trial]


def test_ctrl_c_once_stops_cleanly_and_says_how_to_go_on(stops: Stops) -> None:
    code, output = stops.interrupted
    assert code == 130
    assert output.rstrip().endswith("resume with: python -m tuning sweep --resume stops")
    assert "Traceback" not in output


def test_a_sweep_whose_head_has_gone_says_how_to_go_on(stops: Stops) -> None:
    code, output = stops.headless
    assert code != 0
    assert "resume with: python -m tuning sweep --resume stops" in output
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def side_by_side(place: Workplace, cluster: FaultyCluster, undisturbed: ReferenceSweep) -> tuple[str, str]:
    """The same trials as two sweeps at once, on one cluster and one MLflow."""
    names = "left", "right"
    sweeps = []
    for name, rates in zip(names, (RATES[:3], RATES[3:]), strict=True):
        one_at_a_time = "resources.max_concurrent=1"
        command = place.sweep_command(name, f"--address={cluster.address}", *SWEEP[:-1], f"space.lr={list(rates)}")
        sweeps.append(
            subprocess.Popen(
                [*command, one_at_a_time],
                cwd=place.folder,
                env={**place.environment, **cluster.login},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    try:
        wait_for(lambda: len(cluster.find("worker")) == 2, "a trial of each at once")
        assert [sweep.wait(timeout=900) for sweep in sweeps] == [0, 0]
    finally:
        for sweep in sweeps:
            sweep.kill()
            sweep.wait()
    return names


def test_two_sweeps_at_once_keep_apart(
    place: Workplace, side_by_side: tuple[str, str], undisturbed: ReferenceSweep
) -> None:
    tables = pd.concat([read_leaderboard(place, name) for name in side_by_side]).sort_values("lr", ignore_index=True)
    expected = undisturbed.leaderboard.sort_values("lr", ignore_index=True)
    pd.testing.assert_frame_equal(tables, expected, check_exact=True)
    left, right = (logged_metrics(place, name) for name in side_by_side)
    assert (set(left), set(right)) == (set(RATES[:3]), set(RATES[3:]))
    assert left | right == undisturbed.metrics


FULL_DISK = """
import subprocess, sys, time
from pathlib import Path
runs, command = Path("runs"), sys.argv[1:]
runs.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(runs)], check=True)
sweep = subprocess.Popen(command)

def written():
    return sorted(str(file) for file in runs.glob("full/ray/trials/*/checkpoint_*/checkpoint.json"))

def until(condition):
    deadline = time.monotonic() + 400
    while not condition():
        assert sweep.poll() is None, "the sweep ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)

until(lambda: len(written()) >= 2)
filler = runs / "filler"
with filler.open("wb", buffering=0) as stream:
    try:
        while stream.write(bytes(4096)):
            pass
    except OSError as error:
        print("filled:", error.strerror, flush=True)
    # Ray removes old checkpoints, and what is free again is taken again.
    still, before = 0, written()
    while still < 100:
        time.sleep(0.1)
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            pass
        still, before = (still + 1, before) if written() == before else (0, written())
print("held up", sweep.poll(), flush=True)
time.sleep(15)
filler.unlink()
code = sweep.wait()
subprocess.run(["cp", "-r", "runs/full", "runs/mlflow.db", sys.argv[0] + ".kept"], check=True)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def full_disk(demo_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, str]:
    """Two trials whose disk is full for a while; what they left is copied from the disk, which nobody else sees."""
    place = Workplace(tmp_path_factory.mktemp("full"), demo_clips)
    (place.folder / "full.py").write_text(FULL_DISK)
    kept = place.folder / "full.py.kept"
    kept.mkdir()
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    command = place.sweep_command("full", *SWEEP[:-1], f"space.lr={list(RATES[:2])}", "resources.max_concurrent=2")
    done = succeeded(place.run([*alone, sys.executable, "full.py", *command]))
    kept.rename(place.folder / "runs.kept")
    (place.folder / "runs").rmdir()
    (place.folder / "runs.kept").rename(place.folder / "runs")
    return place, done.stdout


def test_trials_wait_while_their_disk_is_full(full_disk: tuple[Workplace, str], undisturbed: ReferenceSweep) -> None:
    place, output = full_disk
    assert "filled: No space left on device" in output
    assert "held up None" in output, "the sweep waited"
    assert "ray/trials is full: trials wait until there is room" in output
    assert_same_trials(place, "full", RATES[:2], undisturbed)


STOPPED_RATE = 1e-7
TOO_WIDE = 10**11


@dataclass
class Rough:
    """A sweep over clips of which one crashes the decoder, with a trial that is stopped and one that is too large."""

    run: Path
    output: str
    held: float
    """Seconds from the stopped trial's last epoch until the next one had its place."""
    places: Places
    """What held CPUs meanwhile."""


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
        watched_places(cluster, clips.parent / "places") as places,
        sweeping(place, [*new, *settings, "data.max_failed=0.1"], **cluster.login) as sweep,
    ):
        # Whoever decodes the clip dies of it.
        def reading() -> list[int]:
            assert sweep.poll() is None, (place.folder / "sweep.out").read_text()[-2000:]
            return readers(clips / crash)

        reader = wait_for(reading, "the clip is read")
        kill(reader[0], signal.SIGSEGV)
        output = ended_well(place, sweep)
        ended = time.time()
        wait_for(lambda: places().seen[-1][0] > ended, "the places are looked at once more")
        seen = places()
    table = pd.read_csv(run / "results.csv").set_index("lr")
    told_of = [json.loads(line) for line in (run / "mlflow.jsonl").read_text().splitlines()]
    stopped = table.loc[STOPPED_RATE, "id"]
    last = max(each["time"] for each in told_of if each["what"] == "epoch done" and each["trial"] == stopped)
    following = min(each["time"] for each in told_of if each["what"] == "trial started" and each["time"] > last)
    return Rough(run, output, (following - last) / 1000, seen)


def test_a_clip_that_crashes_the_decoder_is_left_out_by_name(rough: Rough) -> None:
    (line,) = (line for line in rough.output.splitlines() if "crash.mp4 is left out" in line)
    assert "crashed (exit code -11)" in line
    defects = pd.read_csv(rough.run / "defects.csv").set_index("what")
    assert Path(defects.loc["left out", "path"]).name == "crash.mp4"


def test_a_trial_that_runs_out_of_memory_fails_alone_and_says_why(
    rough: Rough, place: Workplace, undisturbed: ReferenceSweep
) -> None:
    results = pd.read_csv(rough.run / "results.csv").set_index("arch")
    assert results.loc["resnet18", "status"] == "error"
    assert "memory" in results.loc["resnet18", "reason"]
    assert f"error      {results.loc['resnet18', 'id']}: " in rough.output
    assert_same_trials(place, "rough", RATES[2:3], undisturbed)


def test_a_stopped_trial_frees_its_place_within_seconds(rough: Rough) -> None:
    results = pd.read_csv(rough.run / "results.csv").set_index("lr")
    assert results.loc[STOPPED_RATE, "status"] == "stopped"
    # Idle machines take less than one; this one may be busy.
    assert rough.held < 30
    assert rough.places.most == 1, "one trial at a time"
    assert not rough.places.seen[-1][1], "nothing is held once the sweep has ended"
