"""A Ray cluster of real processes on this machine, to kill them, and to watch the trials of a sweep on it.

Each node is started by `ray start`: a head without CPUs, and worker nodes with CPUs. The role and trial of each process
are read from /proc, which works even while Ray's processes are being killed.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.processes import POLL_SECONDS
from tuning.ports import find_free_port

_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_MARK = "FAULTS_CLUSTER"
"""Environment variable that all processes of a cluster inherit, including those of the trials."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it."""

    pid: int
    parent: int
    command: str
    folder: str
    environment: bytes

    @property
    def role(self) -> str:
        """`worker` or `driver` of a trial; empty for any other process."""
        if self.command.startswith("ray::RayTrainWorker"):
            return "worker"
        return "driver" if self.command.startswith("ray::") and "/working_dirs/" in self.folder else ""

    @property
    def trial(self) -> str:
        """Id of the trial, from the process's working directory; empty until Ray has changed into it."""
        # The session's folder contains a number of the same form: search behind it.
        found = re.search(r"/artifacts/.*?([0-9a-f]{5,8}_\d{5})", self.folder)
        return found[1] if found else ""


def processes() -> list[Process]:
    """All processes that this user may inspect."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = parent_pid(int(entry.name))
            environment = (entry / "environ").read_bytes()
            found.append(Process(int(entry.name), parent, command, os.readlink(entry / "cwd"), environment))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node started by `ray start`."""

    process: subprocess.Popen[bytes]
    raylet: int
    id: str
    """Ray's id of the node, hexadecimal."""


@dataclass
class FaultyCluster:
    """A head without CPUs, and nodes that join and leave."""

    port: int = field(default_factory=find_free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    head: ClusterNode | None = None
    nodes: list[ClusterNode] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def login(self) -> dict[str, str]:
        """Environment variables of a process that connects to the cluster."""
        return {"RAY_AUTH_TOKEN": self.token}

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.login, "RAY_AUTH_MODE": "token", _MARK: self.mark}

    def start_head(self) -> None:
        """Start the head; after it was killed, on the same port again."""
        head = ["--head", f"--port={self.port}", "--include-dashboard=false", "--num-cpus=0"]
        self.head = self._start(head)

    def add_node(self, cpus: int) -> ClusterNode:
        node = self._start([f"--address={self.address}", f"--num-cpus={cpus}"])
        self.nodes.append(node)
        return node

    def _start(self, arguments: list[str]) -> ClusterNode:
        # On a busy machine Ray's own time limits may expire.
        for last_attempt in (False, False, True):
            process, output = self._try_start(arguments)
            if process.poll() is None:
                break
            assert not last_attempt, output
        (raylet,) = (each for each in processes() if each.parent == process.pid and "raylet/raylet " in each.command)
        found = re.search(r"--node[-_]id=([0-9a-f]+)", raylet.command)
        assert found is not None
        return ClusterNode(process, raylet.pid, found[1])

    def _try_start(self, arguments: list[str]) -> tuple[subprocess.Popen[bytes], str]:
        # Port 0: agents would use a fixed port, which another node on this machine may hold.
        options = ["--node-ip-address=127.0.0.1", "--dashboard-agent-listen-port=0", "--disable-usage-stats", "--block"]
        process = subprocess.Popen(
            [*_RAY, "start", *arguments, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line.decode())
            if b"Ray runtime started" in line:
                # A full pipe would block the node.
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return process, ""
        process.wait()
        return process, "".join(output)

    def kill_node(self, node: ClusterNode) -> None:
        """Kill all processes of a node as a power cut does, the raylet first."""
        below = [each.pid for each in self.processes_on(node)]
        for pid in (node.raylet, *below):
            kill(pid)
        os.killpg(node.process.pid, signal.SIGKILL)
        node.process.wait()
        if node in self.nodes:
            self.nodes.remove(node)

    def drain_node(self, node: ClusterNode, seconds: int) -> None:
        """Give a spot node's notice that it stops in `seconds`; the caller must kill the node then."""
        reason = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", f"--node-id={node.id}"]
        subprocess.run(
            [*_RAY, "drain-node", f"--address={self.address}", *reason, f"--deadline-remaining-seconds={seconds}"],
            env=self.environment,
            check=True,
            capture_output=True,
        )

    def kill_all(self) -> None:
        """Kill every process of the cluster, including those of its trials."""
        for each in processes():
            if f"{_MARK}={self.mark}".encode() in each.environment.split(b"\0"):
                kill(each.pid)
        for node in (*self.nodes, self.head):
            if node is not None:
                node.process.wait()
        self.nodes, self.head = [], None

    def processes_on(self, node: ClusterNode) -> list[Process]:
        return [each for each in processes() if each.parent == node.raylet]

    def find(self, role: str, trial: str = "", on: ClusterNode | None = None) -> list[Process]:
        """Return the processes of a role: of all trials or one, on all nodes or one."""
        raylets = {node.raylet for node in ([on] if on else [*self.nodes, self.head]) if node is not None}
        found = [each for each in processes() if each.parent in raylets and each.role == role]
        return [each for each in found if trial in ("", each.trial)]

    def trials_on(self, node: ClusterNode) -> set[str]:
        """Return the trials whose workers have started on a node."""
        return {each.trial for each in self.find("worker", on=node)} - {""}


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def faulty_cluster(cpus: int) -> Iterator[FaultyCluster]:
    """Start a head and one node; kill all processes on exit."""
    cluster = FaultyCluster()
    try:
        cluster.start_head()
        cluster.add_node(cpus)
        yield cluster
    finally:
        cluster.kill_all()


@dataclass(frozen=True, slots=True)
class WrittenCheckpoint:
    """A checkpoint that a trial has written."""

    time: float
    """Seconds since 1970."""
    trial: str
    folder: str
    epoch: int


class CheckpointWatch:
    """Records every checkpoint of a run when it appears, before Ray removes it again."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.written: list[WrittenCheckpoint] = []
        self._ended = threading.Event()
        self._known: set[Path] = set()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[CheckpointWatch]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self.update()

    def update(self) -> None:
        """Record the checkpoints that are there now."""
        with self._lock:
            for file in (self.run / "ray/trials").glob("*/checkpoint_*/checkpoint.json"):
                # The file may be half written, or already removed.
                with contextlib.suppress(OSError, ValueError):
                    if file not in self._known:
                        self._record(file)

    def _record(self, file: Path) -> None:
        epoch = len(json.loads(file.read_text())["history"])
        self.written.append(WrittenCheckpoint(file.stat().st_mtime, *file.parts[-3:-1], epoch))
        self._known.add(file)

    def epochs(self, trial: str) -> list[int]:
        """Return the epochs of a trial's checkpoints, in the order in which they appeared."""
        return [each.epoch for each in sorted(self.written, key=lambda each: each.time) if each.trial == trial]

    def trials(self) -> list[str]:
        """Return the ids of the trials that have written a checkpoint, sorted."""
        return sorted({each.trial for each in self.written})


_PRINT_PLACEMENT_GROUPS = """
import json, sys, time
import ray
from ray.util import placement_group_table
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
while True:
    now = time.time()
    created = {key: group for key, group in placement_group_table().items() if group["state"] == "CREATED"}
    with_cpus = [key for key, group in created.items() if any("CPU" in each for each in group["bundles"].values())]
    print(json.dumps([now, with_cpus]), flush=True)
    time.sleep(0.3)
"""


@dataclass(frozen=True, slots=True)
class PlacementGroupLog:
    """Which placement groups held CPUs, and when."""

    entries: list[tuple[float, set[str]]]
    """Seconds since 1970, and ids of the groups."""

    @property
    def most(self) -> int:
        """Most groups that held CPUs at the same time."""
        return max(len(groups) for _, groups in self.entries)


@contextmanager
def logged_placement_groups(cluster: FaultyCluster, file: Path) -> Iterator[Callable[[], PlacementGroupLog]]:
    """Log the placement groups in a process that has the cluster's token; yield a function that returns the log."""
    with file.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _PRINT_PLACEMENT_GROUPS, cluster.address], stdout=out, env=cluster.environment
        )

    def read_log() -> PlacementGroupLog:
        # The last line may be half written.
        lines = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return PlacementGroupLog([(when, set(groups)) for when, groups in map(json.loads, lines)])

    try:
        yield read_log
    finally:
        process.kill()
        process.wait()


def parent_pid(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def readers(file: Path) -> list[int]:
    """Return the processes that have a file open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each) == str(file) for each in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return found


def truncate(file: Path) -> None:
    """Cut a file in half, as a power cut does while it is written."""
    os.truncate(file, file.stat().st_size // 2)
