"""The plainest Ray Tune and Train set-up, its defaults kept, with a loader that decodes each clip at each epoch.

    python -m benchmarks.plain_sweep --config FILE --data DIR --split FILE --out FOLDER

A driver function builds a `TorchTrainer` with Ray's `TuneReportCallback`; all trials run to the end. On a
CPU each has one loader process, which decodes ahead: more would only take the time of the trials themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.decoding_trial import read_search, test_scores, train_trial


def main() -> None:
    """Leave `scores.json` in the folder."""
    import ray
    import torch
    from ray import tune

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("config", "data", "split", "out"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    files = {name: str(Path(getattr(args, name)).resolve()) for name in ("config", "data", "split", "out")}
    search = read_search(files["config"], files["data"], files["split"])
    gpus = torch.cuda.device_count()
    # Its dashboard is on: without it a stopped trial keeps its place for ever.
    ray.init(include_dashboard=True, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}})
    trials = search.trials()
    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, files=files), tune.PlacementGroupFactory([{"CPU": 0.01}])),
        param_space={"number": tune.grid_search(list(range(len(trials))))},
        # Tune counts the driver functions alone: without a limit all trials would wait for one place.
        tune_config=tune.TuneConfig(max_concurrent_trials=gpus or os.cpu_count()),
        run_config=tune.RunConfig(name="tune", storage_path=files["out"], verbose=0),
    ).fit()
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed: {results.errors[0]}")
    best = max(results, key=lambda each: each.metrics["best"])
    assert best.config is not None
    number = best.config["number"]
    weights = Path(files["out"], f"{number}.pt")
    test = test_scores(trials[number], search, weights, cpus=os.cpu_count() or 1, loader_workers=os.cpu_count() or 1)
    scores = {"val_macro_f1": best.metrics["best"], "test_macro_f1": test.macro_f1}
    Path(files["out"], "scores.json").write_text(json.dumps(scores))
    ray.shutdown()


def _trial(choice: dict[str, Any], files: dict[str, str]) -> None:
    import ray
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    gpu = ray.cluster_resources().get("GPU", 0) > 0
    TorchTrainer(
        _worker,
        train_loop_config={**files, **choice},
        scaling_config=ScalingConfig(num_workers=1, use_gpu=gpu),
        run_config=RunConfig(
            name=tune.get_context().get_trial_id(), storage_path=files["out"], callbacks=[TuneReportCallback()]
        ),
    ).fit()


def _worker(config: dict[str, Any]) -> None:
    import ray.train
    import torch

    search = read_search(config["config"], config["data"], config["split"])
    best = -1.0
    workers = max(1, (os.cpu_count() or 1) - 1) if torch.cuda.is_available() else 1
    trial = search.trials()[config["number"]]
    for epoch, scores, save in train_trial(trial, search.data, cpus=1, loader_workers=workers):
        if scores.macro_f1 > best:
            best = scores.macro_f1
            save(Path(config["out"], f"{config['number']}.pt"))
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder, "model.pt"))
            row = {"epoch": epoch, "val_macro_f1": scores.macro_f1, "best": best}
            ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))


if __name__ == "__main__":
    main()
