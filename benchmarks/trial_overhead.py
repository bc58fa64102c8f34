"""What a trial costs beside its training: a trial that does nothing, by this project and by the plainest set-up.

    python -m benchmarks.trial_overhead

A trial reports three times and computes nothing; the trials go one at a time. `plain` is Ray Tune with a driver
function that builds a `TorchTrainer` with Ray's `TuneReportCallback`, all of Ray's defaults kept. `sweep` is what
`python -m tuning sweep` does. `process` is a Python process that imports what a worker of ours imports, and ends. The
three take turns, `--rounds` times; each Ray is started anew for a round, and its start is not counted. The first trial
of a round starts processes, the others are told apart from it. `report` is how long a report takes from the worker to
the scheduler; in the sweep of ours every one counts, in the plain set-up too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.spread import ratios, spread

REPORTS = 3

_ROUND = "import sys; from benchmarks.trial_overhead import run_round; run_round(*sys.argv[1:])"
_IMPORTS = "import ray.train.torch, tuning.worker"


@dataclass(frozen=True)
class Round:
    """Seconds of one start of Ray."""

    trials: list[float]
    """From the end of the one before, or from the sweep's start, to the trial's own end."""
    reports: list[float]
    """From `report` in the worker to the scheduler."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trial_overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", type=int, default=4, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    rounds: dict[str, list[Round]] = {"plain": [], "sweep": []}
    processes = []
    for _ in range(args.rounds):
        for name, done in rounds.items():
            done.append(_in_a_process(name, args.trials))
            # A round takes minutes: one that is cut off leaves those before it.
            print(f"{name}: " + ", ".join(f"{seconds:.1f}" for seconds in done[-1].trials), file=sys.stderr, flush=True)
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
        processes.append(time.monotonic() - started)
    print(f"{args.rounds} rounds of {args.trials} trials, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print(tabulate(_rows(rounds, processes), ["", "plain", "sweep", "plain / sweep"], tablefmt="github"))


def _in_a_process(name: str, trials: int) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _ROUND, name, str(trials), folder]
        before = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed after {time.monotonic() - before:.0f} s:\n{done.stderr[-3000:]}")
        return Round(**json.loads(Path(folder, "round.json").read_text()))


def run_round(name: str, trials: str, folder: str) -> None:
    """One start of Ray and its trials."""
    from ray import tune

    from tuning.cluster.connect import connected

    clock = _Clock()
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    with _plain_ray() if name == "plain" else connected(None, verbose=False):
        clock.begin()
        trainable = tune.with_parameters(_plain_trial if name == "plain" else _trial, folder=folder)
        tune.Tuner(
            tune.with_resources(trainable, _place(name)),
            param_space={"number": tune.grid_search(list(range(int(trials))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=name == "sweep"),
            run_config=tune.RunConfig(name="tune", storage_path=folder, callbacks=[clock.callback()], verbose=0),
        ).fit()
    Path(folder, "round.json").write_text(json.dumps({"trials": clock.trials, "reports": clock.reports}))


class _Clock:
    def __init__(self) -> None:
        self.trials: list[float] = []
        self.reports: list[float] = []
        self._last = 0.0

    def begin(self) -> None:
        self._last = time.time()

    def callback(self) -> Any:
        from ray import tune

        clock = self

        class Listen(tune.Callback):
            def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
                clock.reports.append(time.time() - result["sent"])

            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                now = time.time()
                clock.trials.append(now - clock._last)
                clock._last = now

        return Listen()


def _plain_ray() -> Any:
    import ray

    # Its dashboard is on: without it a stopped trial of the plain set-up keeps its place for ever.
    return ray.init(address="local", include_dashboard=True, log_to_driver=False, logging_level="ERROR")


def _place(name: str) -> Any:
    from ray import tune

    from tuning.trial.driver import trial_resources
    from tuning.trial.spec import Slot

    if name == "plain":
        return tune.PlacementGroupFactory([{"CPU": 0.01}])
    return trial_resources(Slot(workers=1, cpus=1, gpus=0))


def _worker(_: dict[str, Any]) -> None:
    import ray.train

    for epoch in range(1, REPORTS + 1):
        ray.train.report({"epoch": epoch, "sent": time.time()})


def _our_worker(_: dict[str, Any]) -> None:
    import tuning.trial.worker  # noqa: F401  # What any trial of ours imports.

    _worker({})


def _plain_trial(config: dict[str, Any], folder: str) -> None:
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    run = RunConfig(name=tune.get_context().get_trial_id(), storage_path=folder, callbacks=[TuneReportCallback()])
    TorchTrainer(_worker, train_loop_config={}, scaling_config=ScalingConfig(num_workers=1), run_config=run).fit()


def _trial(config: dict[str, Any], folder: str) -> None:
    train_as_a_sweep(_our_worker, {}, folder)


def train_as_a_sweep(worker: Callable[[dict[str, Any]], None], payload: dict[str, Any], folder: str) -> None:
    """Inside a trial: run a worker function on one CPU as the trials of a sweep run theirs."""
    from ray import tune
    from ray.train import RunConfig, ScalingConfig

    from tuning.trial.ray_internals import InProcessReportCallback, MultiWorkerTorchConfig, ReusingTorchTrainer

    run = RunConfig(name=tune.get_context().get_trial_id(), storage_path=folder, callbacks=[InProcessReportCallback()])
    ReusingTorchTrainer(
        worker,
        train_loop_config=payload,
        torch_config=MultiWorkerTorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=run,
    ).fit()


def _rows(rounds: dict[str, list[Round]], processes: list[float]) -> list[list[str]]:
    def row(title: str, of: Any) -> list[str]:
        plain, ours = ([of(each) for each in rounds[name]] for name in ("plain", "sweep"))
        return [title, spread(plain, unit="s"), spread(ours, unit="s"), spread(ratios(plain, ours))]

    alone = ratios([statistics.mean(each.trials) for each in rounds["sweep"]], processes)
    return [
        row("a trial, mean of a round", lambda each: statistics.mean(each.trials)),
        row("the first trial of a round", lambda each: each.trials[0]),
        row("a later trial", lambda each: statistics.median(each.trials[1:])),
        row("a report, median", lambda each: statistics.median(each.reports)),
        row("a report, longest", lambda each: max(each.reports)),
        ["a process that imports the same", "", spread(processes, unit="s"), f"{spread(alone)} (sweep / process)"],
    ]


if __name__ == "__main__":
    main()
