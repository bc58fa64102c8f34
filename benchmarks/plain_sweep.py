"""The plainest set-up of Ray Tune and Ray Train, with their defaults and a loader that decodes every clip every epoch.

    python -m benchmarks.plain_sweep --config FILE --data DIR --split FILE --out FOLDER

Each trial's driver builds a `TorchTrainer` with Ray's `TuneReportCallback`; all trials run to the end. On a CPU each
trial has one loader process, which decodes ahead; more would only take CPU time from the trials.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.helpers.decoding_trial import load_grid_search, parse_sweep_arguments, train_trial, write_scores
from benchmarks.helpers.ray_trials import plain_trial_resources, run_plain_trial, start_plain_ray


def main(argv: Sequence[str] | None = None) -> None:
    """Train all trials and write `scores.json` to the folder."""
    import ray
    import torch
    from ray import tune

    args = parse_sweep_arguments(__doc__, argv)
    files = {name: str(Path(getattr(args, name)).resolve()) for name in ("config", "data", "split", "out")}
    out = Path(files["out"])
    search = load_grid_search(files["config"], files["data"], files["split"])
    trials = search.trials()
    start_plain_ray(runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}})
    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(_run_trial, files=files), plain_trial_resources()),
        param_space={"number": tune.grid_search(list(range(len(trials))))},
        # Tune counts only the drivers: without a limit all would start, and their workers would wait for one CPU.
        tune_config=tune.TuneConfig(max_concurrent_trials=torch.cuda.device_count() or os.cpu_count()),
        run_config=tune.RunConfig(name="tune", storage_path=files["out"], verbose=0),
    ).fit()
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed: {results.errors[0]}")
    best = max(results, key=lambda result: result.metrics["best"])
    assert best.config is not None
    number = best.config["number"]
    write_scores(search, trials[number], _weights_file(out, number), best.metrics["best"], out)
    ray.shutdown()


def _weights_file(out: Path, number: int) -> Path:
    return out / f"{number}.pt"


def _run_trial(choice: dict[str, Any], files: dict[str, str]) -> None:
    """Run in a trial's driver."""
    import ray

    use_gpu = ray.cluster_resources().get("GPU", 0) > 0
    run_plain_trial(_train, {**files, **choice}, files["out"], use_gpu=use_gpu)


def _train(config: dict[str, Any]) -> None:
    """Run in a trial's worker."""
    import ray.train
    import torch

    search = load_grid_search(config["config"], config["data"], config["split"])
    trial = search.trials()[config["number"]]
    best_score = -1.0
    workers = max(1, (os.cpu_count() or 1) - 1) if torch.cuda.is_available() else 1
    for epoch in train_trial(trial, search.data, cpus=1, loader_workers=workers):
        score = epoch.scores.macro_f1
        if score > best_score:
            best_score = score
            epoch.save(_weights_file(Path(config["out"]), config["number"]))
        with tempfile.TemporaryDirectory() as folder:
            epoch.save(Path(folder, "model.pt"))
            metrics = {"epoch": epoch.number, "val_macro_f1": score, "best": best_score}
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


if __name__ == "__main__":
    main()
