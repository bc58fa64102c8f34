"""How a sweep of trials of one length fills 1, 2, 4, 8 nodes, and what its own process takes for many trials.

    python -m benchmarks.scaling                                   # nodes of one CPU each, all on this machine
    python -m benchmarks.scaling --nodes 8 --trials-a-node 125 --seconds 0 --rounds 1   # 1,000 trials
    python -m benchmarks.scaling --nodes 1 2 4 --trials 4 8 16 32 --seconds 4           # one node's worth a slot

Of several `--trials` the most are run, and the others are those of them that end first: Tune starts trials in order, so
a sweep of so many would have ended then.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.spread import spread
from benchmarks.trial_overhead import train_as_a_sweep

_ROUND = "import sys; from benchmarks.scaling import run_round; run_round(sys.argv[1])"


@dataclass(frozen=True)
class Plan:
    """A sweep to run."""

    nodes: int
    trials: tuple[int, ...]
    """How many, at the most; the others as above."""
    seconds: float


@dataclass(frozen=True)
class Round:
    """So many trials of one sweep."""

    nodes: int
    trials: int
    wall: float
    """Seconds from its start to the last one's end."""
    efficiency: float
    warm_efficiency: float
    """From the moment when as many trials had ended as there are nodes."""
    cpu: float
    """CPU seconds of the sweep's own process, a trial."""
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
    if args.trials and min(args.trials) < max(args.nodes):
        parser.error(f"{min(args.trials)} trials leave some of {max(args.nodes)} nodes without any; --trials 4 8, say")
    plans = [Plan(n, tuple(args.trials or [n * args.trials_a_node]), args.seconds) for n in args.nodes]
    sizes = [(plan.nodes, trials) for plan in plans for trials in plan.trials]
    rounds = [each for _ in range(args.rounds) for plan in plans for each in _in_a_process(plan)]
    print(f"trials of {args.seconds:g} s, {args.rounds} round(s), {os.cpu_count()} CPUs\n")
    head = ["nodes", "trials", "seconds", "efficiency, all", "after start", "CPU of the sweep's process", "its memory"]
    rows = [_row([each for each in rounds if (each.nodes, each.trials) == size]) for size in sizes]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))


def _row(rounds: Sequence[Round]) -> list[str]:
    return [
        str(rounds[0].nodes),
        str(rounds[0].trials),
        spread([each.wall for each in rounds], ".1f"),
        spread([each.efficiency for each in rounds]),
        spread([each.warm_efficiency for each in rounds]),
        f"{spread([1000 * each.cpu for each in rounds], '.0f')} ms a trial",
        f"{spread([each.memory for each in rounds], '.0f')} MB",
    ]


def _in_a_process(plan: Plan) -> list[Round]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "plan.json").write_text(json.dumps(asdict(plan)))
        done = subprocess.run([sys.executable, "-c", _ROUND, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{plan.nodes} nodes failed:\n{done.stderr[-3000:]}")
        rounds = [Round(**each) for each in json.loads(Path(folder, "rounds.json").read_text())]
    for each in rounds:
        print(
            f"{each.nodes} node(s), {each.trials} trials: {each.wall:.1f} s, {each.efficiency:.2f} of all, "
            f"{each.warm_efficiency:.2f} after start",
            flush=True,
        )
    return rounds


def run_round(folder: str) -> None:
    """One cluster and one sweep on it, by the folder's `plan.json`; leaves `rounds.json` there."""
    import ray
    from ray.cluster_utils import Cluster

    from tuning.cluster.connect import PROJECT, WORKER_ENV

    plan = Plan(**json.loads(Path(folder, "plan.json").read_text()))
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(plan.nodes):
        cluster.add_node(num_cpus=1)
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {**WORKER_ENV, "PYTHONPATH": str(PROJECT)}},
    )
    before, started = _cpu(), time.time()
    ends = [end - started for end in sorted(_sweep(max(plan.trials), plan.seconds, Path(folder)))]
    cpu = (_cpu() - before) / max(plan.trials)
    rounds = [asdict(_round(plan, trials, ends, cpu)) for trials in plan.trials]
    Path(folder, "rounds.json").write_text(json.dumps(rounds))
    ray.shutdown()
    cluster.shutdown()


def _round(plan: Plan, trials: int, ends: Sequence[float], cpu: float) -> Round:
    wall = ends[trials - 1]
    warm = wall - ends[plan.nodes - 1]
    return Round(
        nodes=plan.nodes,
        trials=trials,
        wall=wall,
        efficiency=trials / plan.nodes * plan.seconds / wall,
        warm_efficiency=(trials / plan.nodes - 1) * plan.seconds / warm if warm else 1.0,
        cpu=cpu,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _cpu() -> float:
    return sum(os.times()[:2])


def _sweep(trials: int, seconds: float, folder: Path) -> list[float]:
    """The trials' ends, in seconds since 1970."""
    from ray import tune

    from tuning.config.load import parse_config
    from tuning.search.algorithms import build_search
    from tuning.tracking.callbacks import TrackingCallback, TrialTable
    from tuning.tracking.outbox import Spool
    from tuning.trial.driver import trial_resources
    from tuning.trial.spec import Slot

    rates = [0.001 * (1 + number / trials) for number in range(trials)]
    config = parse_config({"space": {"arch": ["resnet18"], "sampler": ["balanced"], "num_frames": [8], "lr": rates}})
    search = build_search(config)
    ends: list[float] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            ends.append(time.time())

    trainable = tune.with_parameters(_trial, seconds=seconds, folder=str(folder))
    tune.Tuner(
        tune.with_resources(trainable, trial_resources(Slot(workers=1, cpus=1, gpus=0))),
        param_space=search.space,
        tune_config=tune.TuneConfig(
            search_alg=search.algorithm, scheduler=search.scheduler, num_samples=search.num_samples, reuse_actors=True
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

    from tuning.tracking.events import METRICS

    for epoch in (1, 2):
        time.sleep(payload["seconds"] / 2)
        ray.train.report({"epoch": epoch, "status": "running", "seconds": 1.0, **dict.fromkeys(METRICS, 0.5)})


def _trial(choice: dict[str, Any], seconds: float, folder: str) -> None:
    train_as_a_sweep(_worker, {"seconds": seconds}, folder)


if __name__ == "__main__":
    main()
