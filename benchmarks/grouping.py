"""Do pictures and names tell which clips show one recording, and what would a random split claim?

    python -m benchmarks.grouping --data DIR --truth sources.csv[:COLUMN]
    python -m benchmarks.grouping                       # generated clips of three seeds, whose sources are known

Precision and recall are over pairs of clips. The linear model sees 7 × 7 blurred pixels of each clip; its accuracy on
random splits against that on grouped ones is what a random split would claim for nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from data.dataset.clips import read_groups, scan_clips
from data.demo import write_demo
from data.quality.grouping import find_groups, pair_scores
from data.quality.leakage import measure_leakage
from data.quality.similarity import find_signatures
from data.store.frame_store import FrameStore
from data.video.decode import DecodeSettings

_HEADER = [
    *("clips", "groups: true, found", "precision", "recall"),
    *("blurred pixels: random split", "by true groups", "by found groups", "largest class"),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table, a row a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of clips; default: generated ones")
    parser.add_argument("--truth", metavar="CSV[:COLUMN]", help="their groups")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of generated clips; default: 0 1 2")
    args = parser.parse_args(argv)
    if (args.data is None) != (args.truth is None):
        parser.error("give both --data and --truth, or none of them")
    with tempfile.TemporaryDirectory() as folder:
        if args.data is not None:
            rows = [_row(args.data.name, args.data, args.truth, Path(folder))]
        else:
            rows = [_generated(seed, Path(folder)) for seed in args.seeds]
    print(tabulate(rows, ["folder", *_HEADER], tablefmt="github", disable_numparse=True))


def _generated(seed: int, folder: Path) -> list[str]:
    clips = folder / f"clips-{seed}"
    write_demo(clips, classes=6, clips_per_class=48, seed=seed)
    return _row(f"generated, seed {seed}", clips, str(clips / "sources.csv"), folder)


def _row(name: str, root: Path, truth_spec: str, folder: Path) -> list[str]:
    truth = read_groups(truth_spec)
    clips = [clip for clip in scan_clips(root).clips if clip.path in truth]
    store = FrameStore(folder / "store", DecodeSettings())
    build = store.build(root, [clip.path for clip in clips])
    grouping = find_groups(clips, build, store, find_signatures(build, store))
    precision, recall = pair_scores(grouping.groups, truth)
    true = measure_leakage([replace(clip, group=truth[clip.path]) for clip in clips], build, store)
    found = measure_leakage(grouping.regroup(clips), build, store)
    assert true is not None
    assert found is not None
    counts = f"{len({truth[clip.path] for clip in clips})}, {len(set(grouping.groups.values()))}"
    shares = (true.random, true.grouped, found.grouped, true.majority)
    figures = [f"{precision:.3f}", f"{recall:.3f}", *("-" if share is None else f"{share:.2f}" for share in shares)]
    return [name, str(len(clips)), counts, *figures]


if __name__ == "__main__":
    main()
