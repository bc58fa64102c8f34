"""A search as a notebook does it: one trial after another, all to the end, every epoch decoding every clip again.

python -m benchmarks.notebook_sweep --config FILE --data DIR --split FILE --out FOLDER
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.helpers.decoding_trial import load_grid_search, parse_sweep_arguments, train_trial, write_scores


def main(argv: Sequence[str] | None = None) -> None:
    """Train all trials and write `scores.json` to the folder."""
    args = parse_sweep_arguments(__doc__, argv)
    search, out, cpus = load_grid_search(args.config, args.data, args.split), Path(args.out), os.cpu_count() or 1
    best_score, best_trial = -1.0, None
    for trial in search.trials():
        # With a GPU, all CPUs can decode while it trains. Without one, training and decoding share them.
        for epoch in train_trial(trial, search.data, cpus=cpus, loader_workers=cpus):
            score = epoch.scores.macro_f1
            print(trial.arch, trial.sampler, trial.num_frames, epoch.number, f"{score:.3f}", flush=True)
            if score > best_score:
                best_score, best_trial = score, trial
                epoch.save(out / "best.pt")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    assert best_trial is not None
    write_scores(search, best_trial, out / "best.pt", best_score, out)


if __name__ == "__main__":
    main()
