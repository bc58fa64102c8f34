"""How well a sweep with trials of equal length fills 1, 2, 4, 8 nodes, and what its own process costs with many trials.

    python -m benchmarks.scaling                                   # nodes of one CPU each, all on this machine
    python -m benchmarks.scaling --nodes 8 --trials-a-node 125 --seconds 0 --rounds 1   # 1,000 trials
    python -m benchmarks.scaling --nodes 1 2 4 --trials 4 8 16 32 --seconds 4           # one slot per node

With several `--trials` only the largest sweep is run. Tune starts trials in order, so the first N trials that end show
when a sweep of N trials would have ended.

A trial reports twice and sleeps in between, so that all nodes fit on a small machine. It has everything that a sweep's
trial has: resources reserved by Tune, a driver, a worker of this project's trainer, MLflow events, a row in the table.
`efficiency` is the time that the trials sleep, divided by the time that they took: `all` from the start of the sweep,
when all processes start, and `after start` from the end of the first trial of each node.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.helpers.command_line import argument_parser, run_python
from benchmarks.helpers.ray_trials import run_sweep_trial, sweep_trial_resources
from benchmarks.helpers.tables import markdown_table, spread

_RUN_CLUSTER = "import sys; from benchmarks.scaling import run_cluster; run_cluster(sys.argv[1])"


@dataclass(frozen=True)
class ClusterPlan:
    """A sweep to run on a cluster of its own."""

    nodes: int
    trials: tuple[int, ...]
    """Numbers of trials to evaluate; the largest is run."""
    seconds: float
    """Length of a trial."""


@dataclass(frozen=True)
class SweepTiming:
    """The first trials of a sweep."""

    nodes: int
    trials: int
    wall: float
    """Seconds from the start of the sweep to the end of the last of these trials."""
    efficiency: float
    warm_efficiency: float
    """Efficiency from the time when as many trials had ended as there are nodes."""
    cpu: float
    """CPU seconds of the sweep's own process per trial."""
    memory: float
    """Peak of the sweep's own process in MB."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per number of nodes and trials."""
    parser = argument_parser(__doc__)
    parser.add_argument("--nodes", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--trials-a-node", type=int, default=6)
    parser.add_argument("--trials", nargs="+", type=int, help="trials of the sweep; replaces --trials-a-node")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which a trial sleeps")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    if args.trials and min(args.trials) < max(args.nodes):
        parser.error(f"{min(args.trials)} trials are too few for {max(args.nodes)} nodes; try --trials 4 8")
    plans = [ClusterPlan(n, tuple(args.trials or [n * args.trials_a_node]), args.seconds) for n in args.nodes]
    sizes = [(plan.nodes, trials) for plan in plans for trials in plan.trials]
    timings = [timing for _ in range(args.rounds) for plan in plans for timing in _run_in_a_process(plan)]
    print(f"trials of {args.seconds:g} s, {args.rounds} round(s), {os.cpu_count()} CPUs\n")
    header = [
        "nodes",
        "trials",
        "seconds",
        "efficiency, all",
        "after start",
        "CPU of the sweep's process",
        "its memory",
    ]
    rows = [_row([each for each in timings if (each.nodes, each.trials) == size]) for size in sizes]
    print(markdown_table(rows, header))


def _row(repeats: Sequence[SweepTiming]) -> list[str]:
    return [
        str(repeats[0].nodes),
        str(repeats[0].trials),
        spread([each.wall for each in repeats], ".1f"),
        spread([each.efficiency for each in repeats]),
        spread([each.warm_efficiency for each in repeats]),
        f"{spread([1000 * each.cpu for each in repeats], '.0f')} ms per trial",
        f"{spread([each.memory for each in repeats], '.0f')} MB",
    ]


def _run_in_a_process(plan: ClusterPlan) -> list[SweepTiming]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "plan.json").write_text(json.dumps(asdict(plan)))
        run_python(["-c", _RUN_CLUSTER, folder], f"the sweep on {plan.nodes} node(s)")
        timings = [SweepTiming(**each) for each in json.loads(Path(folder, "timings.json").read_text())]
    for each in timings:
        print(
            f"{each.nodes} node(s), {each.trials} trials: {each.wall:.1f} s, {each.efficiency:.2f} of all, "
            f"{each.warm_efficiency:.2f} after start",
            flush=True,
        )
    return timings


def run_cluster(folder: str) -> None:
    """Start a cluster, run the sweep of the folder's `plan.json` on it, and write `timings.json`."""
    import ray
    from ray.cluster_utils import Cluster

    from tuning.cluster.connect import PROJECT, WORKER_ENV

    plan = ClusterPlan(**json.loads(Path(folder, "plan.json").read_text()))
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
    cpu_before, started = _cpu_seconds(), time.time()
    ends = [end - started for end in sorted(_sweep(max(plan.trials), plan.seconds, Path(folder)))]
    cpu = (_cpu_seconds() - cpu_before) / max(plan.trials)
    timings = [asdict(_timing(plan, trials, ends, cpu)) for trials in plan.trials]
    Path(folder, "timings.json").write_text(json.dumps(timings))
    ray.shutdown()
    cluster.shutdown()


def _timing(plan: ClusterPlan, trials: int, ends: Sequence[float], cpu: float) -> SweepTiming:
    wall = ends[trials - 1]
    warm = wall - ends[plan.nodes - 1]
    return SweepTiming(
        nodes=plan.nodes,
        trials=trials,
        wall=wall,
        efficiency=trials / plan.nodes * plan.seconds / wall,
        warm_efficiency=(trials / plan.nodes - 1) * plan.seconds / warm if warm else 1.0,
        cpu=cpu,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _cpu_seconds() -> float:
    return sum(os.times()[:2])


def _sweep(trials: int, seconds: float, folder: Path) -> list[float]:
    """Run a sweep and return when each trial ended, in seconds since 1970."""
    from ray import tune

    from tuning.config.load import parse_config
    from tuning.search.algorithms import build_search
    from tuning.tracking.callbacks import TrackingCallback
    from tuning.tracking.outbox import Outbox
    from tuning.tracking.trial_table import TrialTable

    rates = [0.001 * (1 + number / trials) for number in range(trials)]
    config = parse_config({"space": {"arch": ["resnet18"], "sampler": ["balanced"], "num_frames": [8], "lr": rates}})
    search = build_search(config)
    ends: list[float] = []

    class EndTimes(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            ends.append(time.time())

    trainable = tune.with_parameters(_run_trial, seconds=seconds, folder=str(folder))
    tune.Tuner(
        tune.with_resources(trainable, sweep_trial_resources()),
        param_space=search.space,
        tune_config=tune.TuneConfig(
            search_alg=search.algorithm, scheduler=search.scheduler, num_samples=search.num_samples, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[TrackingCallback(Outbox(folder / "mlflow.jsonl")), EndTimes()],
            progress_reporter=TrialTable("val_macro_f1", trials, folder),
            verbose=1,
        ),
    ).fit()
    return ends


def _run_trial(choice: dict[str, Any], seconds: float, folder: str) -> None:
    """Run in a trial's driver."""
    run_sweep_trial(_report_twice, {"seconds": seconds}, folder)


def _report_twice(config: dict[str, Any]) -> None:
    """Run in a trial's worker."""
    import ray.train

    from tuning.training.epoch_metrics import EPOCH_METRICS

    for epoch in (1, 2):
        time.sleep(config["seconds"] / 2)
        ray.train.report({"epoch": epoch, "status": "running", "seconds": 1.0, **dict.fromkeys(EPOCH_METRICS, 0.5)})


if __name__ == "__main__":
    main()
