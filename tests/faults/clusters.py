"""A Ray cluster of real processes on this machine, the faults that befall it, and what becomes of a sweep's trials.

Each node is a `ray start` of its own: a head without CPUs, and workers with some. Which process does what for which
trial is read from /proc, so that it is known also of one that is being killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.helpers.servers import free_port

T = TypeVar("T")

_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_MARK = "FAULTS_CLUSTER"
"""Environment variable that all processes of a cluster inherit, those of the trials included."""


def wait_for(condition: Callable[[], T], what: str, seconds: float = 400) -> T:
    """What the condition gives once it is true; fails with `what` when it never is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return found


@dataclass(frozen=True, slots=True)
class Process:
    """One that runs, as /proc shows it."""

    pid: int
    parent: int
    command: str
    folder: str
    environment: bytes

    @property
    def role(self) -> str:
        """Of a trial's processes."""
        if self.command.startswith("ray::RayTrainWorker"):
            return "worker"
        return "driver" if self.command.startswith("ray::") and "/working_dirs/" in self.folder else ""

    @property
    def trial(self) -> str:
        """Its id, which the folders bear in which Ray lets workers and drivers run; empty until they do."""
        # Not before: the session's folder has a number of that kind, too.
        found = re.search(r"/artifacts/.*?([0-9a-f]{5,8}_\d{5})", self.folder)
        return found[1] if found else ""


def processes() -> list[Process]:
    """All that this user may look into."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = parent_pid(int(entry.name))
            environment = (entry / "environ").read_bytes()
            found.append(Process(int(entry.name), parent, command, os.readlink(entry / "cwd"), environment))
    return found


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Node:
    """One `ray start`."""

    process: subprocess.Popen[bytes]
    raylet: int
    id: str
    """Ray's, in hexadecimal."""


@dataclass
class FaultyCluster:
    """A head without CPUs, and nodes that come and go."""

    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    head: Node | None = None
    nodes: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def login(self) -> dict[str, str]:
        """For the environment of whoever joins."""
        return {"RAY_AUTH_TOKEN": self.token}

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.login, "RAY_AUTH_MODE": "token", _MARK: self.mark}

    def start_head(self) -> None:
        """Also anew, on the same port, once it was killed."""
        head = ["--head", f"--port={self.port}", "--include-dashboard=false", "--num-cpus=0"]
        self.head = self._start(head)

    def add_node(self, cpus: int) -> Node:
        node = self._start([f"--address={self.address}", f"--num-cpus={cpus}"])
        self.nodes.append(node)
        return node

    def _start(self, arguments: list[str]) -> Node:
        # On a busy machine Ray's own deadlines may pass.
        for last in (False, False, True):
            process, told = self._try_start(arguments)
            if process.poll() is None:
                break
            assert not last, told
        (raylet,) = (each for each in processes() if each.parent == process.pid and "raylet/raylet " in each.command)
        found = re.search(r"--node[-_]id=([0-9a-f]+)", raylet.command)
        assert found is not None
        return Node(process, raylet.pid, found[1])

    def _try_start(self, arguments: list[str]) -> tuple[subprocess.Popen[bytes], str]:
        # Agents would else want a port of their own, which another node here may hold.
        own = ["--node-ip-address=127.0.0.1", "--dashboard-agent-listen-port=0", "--disable-usage-stats", "--block"]
        process = subprocess.Popen(
            [*_RAY, "start", *arguments, *own],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line.decode())
            if b"Ray runtime started" in line:
                # Nobody else reads what comes, and a full pipe would hold the node up.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return process, ""
        process.wait()
        return process, "".join(told)

    def kill_node(self, node: Node) -> None:
        """As a power cut does: all of its processes, the raylet first."""
        below = [each.pid for each in self.processes_on(node)]
        for pid in (node.raylet, *below):
            kill(pid)
        os.killpg(node.process.pid, signal.SIGKILL)
        node.process.wait()
        if node in self.nodes:
            self.nodes.remove(node)

    def drain_node(self, node: Node, seconds: int) -> None:
        """A spot node's notice that it goes in so many seconds; whoever gives it must kill the node then."""
        reason = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", f"--node-id={node.id}"]
        subprocess.run(
            [*_RAY, "drain-node", f"--address={self.address}", *reason, f"--deadline-remaining-seconds={seconds}"],
            env=self.environment,
            check=True,
            capture_output=True,
        )

    def kill_all(self) -> None:
        """Every process of it, those of its trials included."""
        for each in processes():
            if f"{_MARK}={self.mark}".encode() in each.environment.split(b"\0"):
                kill(each.pid)
        for node in (*self.nodes, self.head):
            if node is not None:
                node.process.wait()
        self.nodes, self.head = [], None

    def processes_on(self, node: Node) -> list[Process]:
        return [each for each in processes() if each.parent == node.raylet]

    def find(self, role: str, trial: str = "", on: Node | None = None) -> list[Process]:
        """The processes of this role: of all trials or of one, on all nodes or on one."""
        raylets = {node.raylet for node in ([on] if on else [*self.nodes, self.head]) if node is not None}
        found = [each for each in processes() if each.parent in raylets and each.role == role]
        return [each for each in found if trial in ("", each.trial)]

    def trials_on(self, node: Node) -> set[str]:
        """Those whose workers have begun there."""
        return {each.trial for each in self.find("worker", on=node)} - {""}


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """A signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def faulty_cluster(cpus: int) -> Iterator[FaultyCluster]:
    """A head and a node."""
    cluster = FaultyCluster()
    try:
        cluster.start_head()
        cluster.add_node(cpus)
        yield cluster
    finally:
        cluster.kill_all()


@dataclass(frozen=True, slots=True)
class Written:
    """A checkpoint that appeared."""

    time: float
    """Seconds since 1970."""
    trial: str
    folder: str
    epoch: int


class Watch:
    """Notes every checkpoint of a run as it appears, before Ray removes it again."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.written: list[Written] = []
        self._ended = threading.Event()
        self._known: set[Path] = set()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[Watch]:
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _work(self) -> None:
        while not self._ended.wait(0.05):
            self.look()

    def look(self) -> None:
        """What is there now counts as written."""
        with self._lock:
            for file in (self.run / "ray/trials").glob("*/checkpoint_*/checkpoint.json"):
                # It may be half written, or gone again.
                with contextlib.suppress(OSError, ValueError):
                    if file not in self._known:
                        self._note(file)

    def _note(self, file: Path) -> None:
        epoch = len(json.loads(file.read_text())["history"])
        self.written.append(Written(file.stat().st_mtime, *file.parts[-3:-1], epoch))
        self._known.add(file)

    def epochs(self, trial: str) -> list[int]:
        """Of a trial's checkpoints, as they appeared."""
        return [each.epoch for each in sorted(self.written, key=lambda each: each.time) if each.trial == trial]

    def trials(self) -> list[str]:
        """That have written a checkpoint, in the order of their ids."""
        return sorted({each.trial for each in self.written})


_PLACES = """
import json, sys, time
import ray
from ray.util import placement_group_table
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
while True:
    asked = time.time()
    placed = {key: place for key, place in placement_group_table().items() if place["state"] == "CREATED"}
    held = [key for key, place in placed.items() if any("CPU" in bundle for bundle in place["bundles"].values())]
    print(json.dumps([asked, held]), flush=True)
    time.sleep(0.3)
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Which placement groups held CPUs, and when."""

    seen: list[tuple[float, set[str]]]
    """Seconds since 1970, and the groups."""

    @property
    def most(self) -> int:
        """Held at one time."""
        return max(len(groups) for _, groups in self.seen)


@contextmanager
def watched_places(cluster: FaultyCluster, file: Path) -> Iterator[Callable[[], Places]]:
    """Asks Ray again and again, by a process of its own, which has the cluster's token."""
    with file.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _PLACES, cluster.address], stdout=out, env=cluster.environment
        )
    try:
        yield lambda: Places([(when, set(held)) for when, held in map(json.loads, file.read_text().splitlines())])
    finally:
        process.kill()
        process.wait()


def parent_pid(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def readers(file: Path) -> list[int]:
    """Processes that have a file open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each) == str(file) for each in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return found


def truncate(file: Path) -> None:
    """As a disk does that lost its power: the file is there, its end is not."""
    os.truncate(file, file.stat().st_size // 2)
