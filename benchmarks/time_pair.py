"""Whether an architecture uses the order of frames: its best trial on new clips of two classes that differ only in it.

    python -m benchmarks.time_pair --run runs/NAME

`arm circle forward` and `arm circle backward` have the same poses in opposite order. The run must be a sweep over the
demo clips; the new clips are generated with bodies, rooms and tempos that it was not trained on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.tables import markdown_table
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


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per architecture."""
    parser = argument_parser(__doc__)
    parser.add_argument("--run", required=True, metavar="DIR", help="a sweep over the demo clips")
    parser.add_argument("--clips-per-class", type=int, default=100, metavar="N", help="new clips; default: 100")
    parser.add_argument("--seed", type=int, default=10_000, help="of the new clips; default: 10000")
    args = parser.parse_args(argv)
    run = find_run(args.run)
    classes = read_split(run.split).classes
    with tempfile.TemporaryDirectory() as folder:
        clips = Path(folder) / "clips"
        write_demo(clips, classes=2, clips_per_class=args.clips_per_class, seed=args.seed)
        trials = _best_per_architecture(read_trials(run, run.read_config()))
        rows = [_row(trial, clips, classes) for trial in trials]
    header = ["architecture", "frames", "val macro-F1, all classes", "new clips", "accuracy on them", "95 % interval"]
    print(markdown_table(rows, header))


def _best_per_architecture(results: Sequence[TrialResult]) -> list[TrialResult]:
    best: dict[str, TrialResult] = {}
    for trial in rank_trials([row for row in results if row.checkpoint], "val_macro_f1"):
        best.setdefault(trial.arch, trial)
    return list(best.values())


def _row(trial: TrialResult, clips: Path, classes: tuple[str, ...]) -> list[str]:
    """Test the trial's best checkpoint on the new clips.

    A prediction is the class of the pair with the higher logit, whatever the logits of other classes: chance is 0.5.
    """
    champion = Champion(Path(trial.checkpoint))
    store = FrameStore(clips.parent / "store", champion.manifest.decode)
    pair = [classes.index(name) for name in TIME_PAIR]
    paths = sorted(str(file.relative_to(clips)) for name in TIME_PAIR for file in (clips / name).iterdir())
    digests = store.build(clips, paths, progress=False).digests()
    labelled = [LabelledFrames(path, digests[path], classes.index(Path(path).parts[0])) for path in paths]
    found = champion.predict_stored(labelled, store)
    correct = int((found.logits[:, pair].argmax(1) == (found.labels == pair[1]).long()).sum())
    low, high = wilson_interval(correct, len(paths))
    accuracy = [f"{correct / len(paths):.3f}", f"{low:.3f} to {high:.3f}"]
    frames, val_macro_f1 = str(trial.choice["num_frames"]), f"{trial.val_macro_f1:.3f}"
    return [trial.arch, frames, val_macro_f1, str(len(paths)), *accuracy]


if __name__ == "__main__":
    main()
