"""Does an architecture see time? The best trial of each on new clips of two classes that only time tells apart.

    python -m benchmarks.time_pair --run runs/NAME

`arm circle forward` and `arm circle backward` show the same poses in opposite order. The run must be a sweep over the
demo clips; the clips here are generated anew, with bodies, rooms and tempos that it never saw.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tabulate import tabulate

from data.dataset.splits import read_split
from data.demo import TIME_PAIR, write_demo
from data.intervals import wilson_interval
from data.store.build_report import LabelledFrames
from data.store.frame_store import FrameStore
from tuning.config.run_folder import find_run
from tuning.inference.champion import Champion
from tuning.search.leaderboard import rank_trials
from tuning.search.trial_result import TrialResult
from tuning.search.tune_results import read_trials


def main() -> None:
    """Print a Markdown table, a row an architecture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, metavar="DIR", help="a sweep over the demo clips")
    parser.add_argument("--clips-per-class", type=int, default=100, metavar="N", help="new clips; default: 100")
    parser.add_argument("--seed", type=int, default=10_000, help="of the new clips; default: 10000")
    args = parser.parse_args()
    run = find_run(args.run)
    classes = read_split(run.split).classes
    with tempfile.TemporaryDirectory() as folder:
        clips = Path(folder) / "clips"
        write_demo(clips, classes=2, clips_per_class=args.clips_per_class, seed=args.seed)
        rows = [
            [trial.arch, trial.num_frames, f"{trial.val_macro_f1:.3f}", *_pair_accuracy(trial, clips, classes)]
            for trial in _best_of_each(read_trials(run, run.read_config()))
        ]
    header = ["architecture", "frames", "val macro-F1, all classes", "new clips", "pair told apart", "95 % interval"]
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


def _best_of_each(results: list[TrialResult]) -> list[TrialResult]:
    best: dict[str, TrialResult] = {}
    for trial in rank_trials([row for row in results if row.checkpoint], "val_macro_f1"):
        best.setdefault(trial.arch, trial)
    return list(best.values())


def _pair_accuracy(trial: TrialResult, clips: Path, classes: tuple[str, ...]) -> tuple[str, str, str]:
    """Which of the two has the higher logit, whatever the other classes have: chance is one half."""
    champion = Champion(Path(trial.checkpoint))
    store = FrameStore(clips.parent / "store", champion.manifest.decode)
    pair = [classes.index(name) for name in TIME_PAIR]
    paths = sorted(str(file.relative_to(clips)) for name in TIME_PAIR for file in (clips / name).iterdir())
    digests = store.build(clips, paths, progress=False).digests()
    labelled = [LabelledFrames(path, digests[path], classes.index(Path(path).parts[0])) for path in paths]
    found = champion.predict_stored(labelled, store)
    right = int((found.logits[:, pair].argmax(1) == (found.labels == pair[1]).long()).sum())
    low, high = wilson_interval(right, len(paths))
    return str(len(paths)), f"{right / len(paths):.3f}", f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    main()
