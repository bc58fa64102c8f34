"""A search as a notebook does it: trials one after another, all to the end, each clip decoded again at each epoch.

python -m benchmarks.notebook_sweep --config FILE --data DIR --split FILE --out FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

from benchmarks.decoding_trial import read_search, test_scores, train_trial


def main() -> None:
    """Leave `scores.json` in the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("config", "data", "split", "out"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    search, out, cpus = read_search(args.config, args.data, args.split), Path(args.out), os.cpu_count() or 1
    # A GPU trains while all CPUs decode; without one they share the CPUs, which both can fill.
    best, best_trial = -1.0, None
    for trial in search.trials():
        for epoch, scores, save in train_trial(trial, search.data, cpus=cpus, loader_workers=cpus):
            print(trial.arch, trial.sampler, trial.num_frames, epoch, f"{scores.macro_f1:.3f}", flush=True)
            if scores.macro_f1 > best:
                best, best_trial = scores.macro_f1, trial
                save(out / "best.pt")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    assert best_trial is not None
    test = test_scores(best_trial, search, out / "best.pt", cpus=cpus, loader_workers=cpus)
    (out / "scores.json").write_text(json.dumps({"val_macro_f1": best, "test_macro_f1": test.macro_f1}))


if __name__ == "__main__":
    main()
