"""How a sweep of trials of one length fills 1, 2, 4, 8 nodes, and what its own process takes for many trials.

    python -m benchmarks.scaling                                   # nodes of one CPU each, all on this machine
    python -m benchmarks.scaling --nodes 8 --trials-a-node 125 --seconds 0 --rounds 1   # 1,000 trials
    python -m benchmarks.scaling --nodes 1 2 4 --trials 4 8 16 32 --seconds 4           # one node's worth a slot

A trial reports twice and sleeps in between, so that all nodes fit on a small machine; it takes what a trial of a sweep
takes: a place by Tune, a driver, a worker of this project's trainer, entries in the journal, the table. `efficiency` is
the time that the trials would take if nothing but sleeping did, over the time that they took: `all` from the sweep's
start, in which all processes start, and `after start` from the first trial's end on each node.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.spread import spread
from benchmarks.trial_overhead import train_as_a_sweep

_ROUND = "import sys; from benchmarks.scaling import run_round; run_round(*map(float, sys.argv[1:4]), sys.argv[4])"


@dataclass(frozen=True)
class Round:
    """One sweep."""

    nodes: int
    trials: int
    wall: float
    """Seconds from its start to the last trial's end."""
    warm: float
    """Seconds from the moment when as many trials had ended as there are nodes."""
    efficiency: float
    warm_efficiency: float
    cpu: float
    """CPU seconds of the sweep's own process."""
    memory: float
    """Its peak, in MB."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table, a row a number of nodes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--trials-a-node", type=int, default=6)
    parser.add_argument("--trials", nargs="+", type=int, help="in all, in place of so many a node")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a trial sleeps")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    sizes = [(n, trials) for n in args.nodes for trials in args.trials or [n * args.trials_a_node]]
    rounds = [_in_a_process(n, trials, args.seconds) for _ in range(args.rounds) for n, trials in sizes]
    print(f"trials of {args.seconds:g} s, {args.rounds} round(s), {os.cpu_count()} CPUs\n")
    head = ["nodes", "trials", "seconds", "efficiency, all", "after start", "CPU of the sweep's process", "its memory"]
    rows = [_row([each for each in rounds if (each.nodes, each.trials) == size]) for size in sizes]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))


def _row(rounds: Sequence[Round]) -> list[str]:
    trials = rounds[0].trials
    return [
        str(rounds[0].nodes),
        str(trials),
        spread([each.wall for each in rounds], ".1f"),
        spread([each.efficiency for each in rounds]),
        spread([each.warm_efficiency for each in rounds]),
        f"{spread([1000 * each.cpu / trials for each in rounds], '.0f')} ms a trial",
        f"{spread([each.memory for each in rounds], '.0f')} MB",
    ]


def _in_a_process(nodes: int, trials: int, seconds: float) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _ROUND, str(nodes), str(trials), str(seconds), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{nodes} nodes failed:\n{done.stderr[-3000:]}")
        found = Round(**json.loads(Path(folder, "round.json").read_text()))
    print(
        f"{nodes} node(s), {trials} trials: {found.efficiency:.2f} of all, {found.warm_efficiency:.2f} after start",
        flush=True,
    )
    return found


def run_round(nodes: float, trials: float, seconds: float, folder: str) -> None:
    """One cluster and one sweep on it; leaves `round.json` in the folder."""
    import ray
    from ray.cluster_utils import Cluster

    from tuning.cluster import PROJECT, WORKER_ENV

    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(int(nodes)):
        cluster.add_node(num_cpus=1)
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {**WORKER_ENV, "PYTHONPATH": str(PROJECT)}},
    )
    before = _cpu()
    started = time.time()
    ends = _sweep(int(trials), seconds, Path(folder))
    cpu = _cpu() - before
    warm_from = sorted(ends)[int(nodes) - 1]
    wall, warm = max(ends) - started, max(ends) - warm_from
    found = Round(
        nodes=int(nodes),
        trials=int(trials),
        wall=wall,
        warm=warm,
        efficiency=trials / nodes * seconds / wall,
        warm_efficiency=(trials / nodes - 1) * seconds / warm if warm else 1.0,
        cpu=cpu,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    Path(folder, "round.json").write_text(json.dumps(found.__dict__))
    ray.shutdown()
    cluster.shutdown()


def _cpu() -> float:
    return sum(os.times()[:2])


def _sweep(trials: int, seconds: float, folder: Path) -> list[float]:
    """The trials' ends, in seconds since 1970."""
    from ray import tune

    from tuning.config_file import parse_config
    from tuning.job import Slot
    from tuning.progress import TrackingCallback, TrialTable
    from tuning.space import build_search
    from tuning.spool import Spool
    from tuning.trial import placement

    rates = [0.001 * (1 + number / trials) for number in range(trials)]
    config = parse_config({"space": {"arch": ["resnet18"], "sampler": ["balanced"], "num_frames": [8], "lr": rates}})
    search = build_search(config, at_once=1)
    ends: list[float] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            ends.append(time.time())

    trainable = tune.with_parameters(_trial, seconds=seconds, folder=str(folder))
    tune.Tuner(
        tune.with_resources(trainable, placement(Slot(workers=1, cpus=1, gpus=0))),
        param_space=search.space,
        tune_config=tune.TuneConfig(
            search_alg=search.algorithm, scheduler=search.scheduler, num_samples=search.samples, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[TrackingCallback(Spool(folder / "mlflow.jsonl")), Ends()],
            progress_reporter=TrialTable("val_macro_f1", trials, folder),
            verbose=1,
        ),
    ).fit()
    return ends


def _worker(payload: dict[str, Any]) -> None:
    import ray.train

    from tuning.journal import METRICS

    for epoch in (1, 2):
        time.sleep(payload["seconds"] / 2)
        ray.train.report({"epoch": epoch, "status": "running", "seconds": 1.0, **dict.fromkeys(METRICS, 0.5)})


def _trial(choice: dict[str, Any], seconds: float, folder: str) -> None:
    train_as_a_sweep(_worker, {"seconds": seconds}, folder)


if __name__ == "__main__":
    main()
