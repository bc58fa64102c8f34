"""Groups found from pictures and names against the true ones, and how much a random split inflates accuracy.

    python -m benchmarks.grouping --data DIR --truth sources.csv[:COLUMN]
    python -m benchmarks.grouping                       # generated clips of three seeds, with known groups

Precision and recall count pairs of clips. The linear model gets 7 × 7 blurred pixels of each clip, too few to show an
exercise: the difference between its accuracy on random and on grouped splits is what a random split would inflate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.tables import markdown_table
from data.dataset.clips import read_groups, scan_clips
from data.demo import write_demo
from data.quality.grouping import find_groups, pair_scores
from data.quality.leakage import measure_leakage
from data.quality.similarity import find_signatures
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings

_HEADER = [
    *("folder", "clips", "groups: true, found", "precision", "recall"),
    *("blurred pixels: random split", "by true groups", "by found groups", "largest class"),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with one row per folder of clips."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of clips; default: generated ones")
    parser.add_argument("--truth", metavar="CSV[:COLUMN]", help="their true groups")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of generated clips; default: 0 1 2")
    args = parser.parse_args(argv)
    if (args.data is None) != (args.truth is None):
        parser.error("give both --data and --truth, or neither")
    with tempfile.TemporaryDirectory() as folder:
        if args.data is not None:
            rows = [_row(args.data.name, args.data, args.truth, Path(folder))]
        else:
            rows = [_generated_row(seed, Path(folder)) for seed in args.seeds]
    print(markdown_table(rows, _HEADER))


def _generated_row(seed: int, folder: Path) -> list[str]:
    clips = folder / f"clips-{seed}"
    write_demo(clips, classes=6, clips_per_class=48, seed=seed)
    return _row(f"generated, seed {seed}", clips, str(clips / "sources.csv"), folder)


def _row(name: str, root: Path, groups_csv: str, folder: Path) -> list[str]:
    true_groups = read_groups(groups_csv)
    clips = [clip for clip in scan_clips(root).clips if clip.path in true_groups]
    store = FrameStore(folder / "store", DecodeSettings())
    build = store.build(root, [clip.path for clip in clips])
    grouping = find_groups(clips, build, store, find_signatures(build, store))
    precision, recall = pair_scores(grouping.groups, true_groups)
    by_true_groups = measure_leakage([replace(clip, group=true_groups[clip.path]) for clip in clips], build, store)
    by_found_groups = measure_leakage(grouping.regroup(clips), build, store)
    assert by_true_groups is not None
    assert by_found_groups is not None
    counts = f"{len({true_groups[clip.path] for clip in clips})}, {len(set(grouping.groups.values()))}"
    accuracies = (by_true_groups.random, by_true_groups.grouped, by_found_groups.grouped, by_true_groups.majority)
    cells = [f"{precision:.3f}", f"{recall:.3f}", *("-" if each is None else f"{each:.2f}" for each in accuracies)]
    return [name, str(len(clips)), counts, *cells]


if __name__ == "__main__":
    main()
