"""Overhead of a trial: trials that compute nothing, in a sweep of this project and in plain Ray Tune and Ray Train.

    python -m benchmarks.trial_overhead

A trial reports three times; trials run one after another. `plain` is Ray Tune with a driver that builds a
`TorchTrainer` with Ray's `TuneReportCallback`, all with Ray's defaults. `sweep` is what `python -m tuning sweep` does.
`process` is a Python process that imports what a worker of a sweep imports, and exits. The three alternate for
`--rounds` rounds. Each round starts Ray, which does not count. The first trial of a round starts processes, so it is
shown apart from the later ones. `report` is the time of a report from the worker to the scheduler.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.helpers.command_line import argument_parser, run_python
from benchmarks.helpers.ray_trials import (
    plain_trial_resources,
    run_plain_trial,
    run_sweep_trial,
    start_plain_ray,
    sweep_trial_resources,
)
from benchmarks.helpers.tables import markdown_table, ratios, spread

REPORTS = 3

_RUN_ROUND = "import sys; from benchmarks.trial_overhead import run_round; run_round(*sys.argv[1:])"
_WORKER_IMPORTS = "import ray.train.torch, tuning.trial.worker"


@dataclass(frozen=True)
class OverheadRound:
    """Seconds of the trials after one start of Ray."""

    trials: list[float]
    """From the end of the previous trial, or from the start of the sweep, to the end of the trial."""
    reports: list[float]
    """From `report` in the worker to the scheduler."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--trials", type=int, default=4, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    rounds: dict[str, list[OverheadRound]] = {"plain": [], "sweep": []}
    processes = []
    for _ in range(args.rounds):
        for set_up, done in rounds.items():
            done.append(_run_in_a_process(set_up, args.trials))
            # A round takes minutes; if the run is interrupted, the earlier rounds have been printed.
            seconds = ", ".join(f"{each:.1f}" for each in done[-1].trials)
            print(f"{set_up}: {seconds}", file=sys.stderr, flush=True)
        started = time.monotonic()
        run_python(["-c", _WORKER_IMPORTS], "the imports of a worker")
        processes.append(time.monotonic() - started)
    print(f"{args.rounds} rounds of {args.trials} trials, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print(markdown_table(_rows(rounds, processes), ["", "plain", "sweep", "plain / sweep"]))


def _run_in_a_process(set_up: str, trials: int) -> OverheadRound:
    with tempfile.TemporaryDirectory() as folder:
        run_python(["-c", _RUN_ROUND, set_up, str(trials), folder], set_up)
        return OverheadRound(**json.loads(Path(folder, "round.json").read_text()))


def run_round(set_up: str, trials: str, folder: str) -> None:
    """Start Ray, run the trials and write `round.json` to the folder."""
    from ray import tune

    from tuning.cluster.connect import connected

    plain = set_up == "plain"
    timer = _TrialTimer()
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    with start_plain_ray() if plain else connected(None, verbose=False):
        timer.start()
        trainable = tune.with_parameters(_run_plain_trial if plain else _run_sweep_trial, folder=folder)
        tune.Tuner(
            tune.with_resources(trainable, plain_trial_resources() if plain else sweep_trial_resources()),
            param_space={"number": tune.grid_search(list(range(int(trials))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=not plain),
            run_config=tune.RunConfig(name="tune", storage_path=folder, callbacks=[timer.callback()], verbose=0),
        ).fit()
    Path(folder, "round.json").write_text(json.dumps({"trials": timer.trials, "reports": timer.reports}))


class _TrialTimer:
    """Measures trials and reports from Tune's process."""

    def __init__(self) -> None:
        self.trials: list[float] = []
        self.reports: list[float] = []
        self.last_end = 0.0

    def start(self) -> None:
        self.last_end = time.time()

    def callback(self) -> Any:
        """Return the callback that Tune has to call."""
        from ray import tune

        timer = self

        class TimerCallback(tune.Callback):
            def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
                timer.reports.append(time.time() - result["sent"])

            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                now = time.time()
                timer.trials.append(now - timer.last_end)
                timer.last_end = now

        return TimerCallback()


def _run_plain_trial(choice: dict[str, Any], folder: str) -> None:
    """Run in a trial's driver."""
    run_plain_trial(_report, {}, folder)


def _run_sweep_trial(choice: dict[str, Any], folder: str) -> None:
    """Run in a trial's driver."""
    run_sweep_trial(_import_and_report, {}, folder)


def _report(_: dict[str, Any]) -> None:
    """Run in a trial's worker."""
    import ray.train

    for epoch in range(1, REPORTS + 1):
        ray.train.report({"epoch": epoch, "sent": time.time()})


def _import_and_report(_: dict[str, Any]) -> None:
    """Run in a trial's worker, with the imports of every trial of a sweep."""
    import tuning.trial.worker  # noqa: F401

    _report({})


def _rows(rounds: dict[str, list[OverheadRound]], processes: list[float]) -> list[list[str]]:
    def row(title: str, value: Callable[[OverheadRound], float]) -> list[str]:
        plain, sweep = ([value(each) for each in rounds[name]] for name in ("plain", "sweep"))
        return [title, spread(plain, unit="s"), spread(sweep, unit="s"), spread(ratios(plain, sweep))]

    to_process = ratios([statistics.mean(each.trials) for each in rounds["sweep"]], processes)
    return [
        row("a trial, mean of a round", lambda each: statistics.mean(each.trials)),
        row("the first trial of a round", lambda each: each.trials[0]),
        row("a later trial", lambda each: statistics.median(each.trials[1:])),
        row("a report, median", lambda each: statistics.median(each.reports)),
        row("a report, longest", lambda each: max(each.reports)),
        [
            "a process with a worker's imports",
            "",
            spread(processes, unit="s"),
            f"{spread(to_process)} (sweep / process)",
        ],
    ]


if __name__ == "__main__":
    main()
