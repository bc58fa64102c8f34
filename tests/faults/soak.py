"""Run small sweeps on real Ray processes, with a random fault every minute.

    python -m tests.faults.soak --minutes 30

An undisturbed sweep gives the leaderboard to expect. Then the same sweep runs on a head and two nodes, again and again
until the time is up, while processes, nodes, the head or the sweep itself are killed and checkpoints are truncated; a
sweep that was killed is resumed. Each must end with the expected leaderboard, to the last digit; exit code 0 if all do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from data.demo import write_demo
from tests.faults.clusters import FaultyCluster, alive, faulty_cluster, kill, truncate
from tests.helpers.leaderboards import ReferenceSweep, assert_same_results
from tests.helpers.processes import LIMIT_SECONDS, succeeded
from tests.helpers.sweep_runs import Workplace

SWEEP = ("space.arch=c3d", "space.num_frames=8", "train.epochs=10", "space.lr=[0.01,0.003,0.001,0.0003,0.0001,0.00003]")
NODES, CPUS = 2, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=60, metavar="SECONDS", help="between two faults; default: 60")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, faulty_cluster(CPUS) as cluster:
        cluster.add_node(CPUS)
        write_demo(Path(folder) / "clips", classes=3, clips_per_class=9, seed=0, progress=False)
        return Soak(cluster, Workplace(Path(folder), Path(folder) / "clips"), args.seed).run(args.minutes, args.every)


class Soak:
    """Sweeps one after another, and the faults that hit them."""

    def __init__(self, cluster: FaultyCluster, place: Workplace, seed: int) -> None:
        self.cluster, self.place, self.draws = cluster, place, random.Random(seed)
        self.name = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.started = time.monotonic()
        self.faults: dict[str, Callable[[], str]] = {
            "worker": lambda: self.kill_process("worker"),
            "driver": lambda: self.kill_process("driver"),
            "node": self.kill_node,
            "notice": self.drain_node,
            "sweep": self.kill_sweep,
            "ctrl-c": self.interrupt_sweep,
            "head": self.restart_head,
            "checkpoint": self.truncate_checkpoint,
        }

    def run(self, minutes: float, every: float) -> int:
        """Run until the time is up and the sweep that runs then has ended; return the exit code."""
        new = self.place.sweep_command("undisturbed", f"--address={self.cluster.address}", *SWEEP)
        succeeded(self.place.run(new, **self.cluster.login))
        undisturbed = ReferenceSweep.of(self.place, "undisturbed")
        self.log("the undisturbed sweep has ended")
        end, wrong, sweeps = time.monotonic() + 60 * minutes, 0, 0
        while time.monotonic() < end:
            sweeps += 1
            self.name = f"soak{sweeps}"
            self.start()
            self.run_sweep(end, every)
            try:
                assert_same_results(self.place, self.name, undisturbed)
                self.log(f"{self.name}: the leaderboard is right")
            except AssertionError as error:
                wrong += 1
                self.log(f"{self.name}: WRONG: {error}")
        print(f"verdict: {sweeps} sweeps, {wrong} wrong", flush=True)
        return 1 if wrong else 0

    def run_sweep(self, end: float, every: float) -> None:
        """Run one sweep to its end: hit by faults until the time is up, resumed whenever it stops before."""
        next_fault, limit = time.monotonic() + every, time.monotonic() + 2 * LIMIT_SECONDS
        while True:
            assert self.process is not None
            code = self.process.poll()
            if code == 0:
                return
            if code is not None:
                self.log(f"the sweep ended with {code}: {self.last_line()}")
                self.start()
            if next_fault < time.monotonic() < end:
                fault = self.draws.choice(sorted(self.faults))
                self.log(f"{fault}: {self.faults[fault]()}")
                next_fault = time.monotonic() + every
            assert time.monotonic() < limit, "the sweep does not end"
            time.sleep(0.2)

    def start(self) -> None:
        """Start the sweep, or resume it."""
        at = f"--address={self.cluster.address}"
        new = self.place.sweep_command(self.name, at, *SWEEP, f"resources.max_concurrent={NODES * CPUS}")
        started = (self.place.folder / "runs" / self.name).exists()
        command = [*new[: new.index("--config")], at, "--resume", self.name] if started else new
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=self.place.folder,
                env={
                    **self.place.environment,
                    **self.cluster.login,
                    # The default of 60 s is how long a process waits for a head that is gone.
                    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
                },
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def out(self) -> Path:
        return self.place.folder / f"{self.name}.out"

    def last_line(self) -> str:
        return (self.out.read_text().splitlines() or [""])[-1]

    def log(self, what: str) -> None:
        print(f"{time.monotonic() - self.started:6.0f} s  {what}", flush=True)

    def kill_process(self, role: str) -> str:
        found = self.cluster.find(role)
        if not found:
            return "there is no such process"
        process = self.draws.choice(sorted(found, key=lambda each: each.pid))
        kill(process.pid)
        return f"killed {process.pid} {process.trial}"

    def kill_node(self) -> str:
        node = self.draws.choice(self.cluster.nodes)
        trials = sorted(self.cluster.trials_on(node))
        self.cluster.kill_node(node)
        self.cluster.add_node(CPUS)
        return f"killed with {', '.join(trials) or 'no trial'}; another joined"

    def drain_node(self) -> str:
        node = self.draws.choice(self.cluster.nodes)
        workers = self.cluster.find("worker", on=node)
        self.cluster.add_node(CPUS)
        self.cluster.drain_node(node, seconds=10)
        # A spot node stops some time after its notice, whether its workers have left or not.
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and any(alive(each.pid) for each in workers):
            time.sleep(0.2)
        self.cluster.kill_node(node)
        return f"{len(workers)} workers left it, then it was killed; another had joined"

    def kill_sweep(self) -> str:
        return self.stop_sweep(signal.SIGKILL)

    def interrupt_sweep(self) -> str:
        return self.stop_sweep(signal.SIGINT)

    def stop_sweep(self, number: signal.Signals) -> str:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(timeout=LIMIT_SECONDS)
        return f"stopped by {number.name}"

    def restart_head(self) -> str:
        assert self.process is not None
        self.cluster.kill_all()
        self.process.wait(timeout=LIMIT_SECONDS)
        self.cluster.start_head()
        for _ in range(NODES):
            self.cluster.add_node(CPUS)
        return "the whole cluster was killed and started again"

    def truncate_checkpoint(self) -> str:
        """Truncate a trial's last checkpoint and kill its worker."""
        for process in self.cluster.find("worker"):
            folders = sorted(
                (self.place.folder / "runs" / self.name / "ray/trials" / process.trial).glob("checkpoint_*/")
            )
            if process.trial and len(folders) > 1:
                kill(process.pid, signal.SIGSTOP)
                name = self.draws.choice(["training.pt", "model.pt", "checkpoint.json"])
                with contextlib.suppress(FileNotFoundError):
                    truncate(folders[-1] / name)
                kill(process.pid)
                return f"{name} of {process.trial} was cut in half and its worker killed"
        return "there is no such process"


if __name__ == "__main__":
    sys.exit(main())
