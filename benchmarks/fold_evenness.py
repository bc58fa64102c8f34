"""Compare grouped, stratified folds: this project's against scikit-learn's StratifiedGroupKFold.

    python -m benchmarks.fold_evenness

Both get the same random groups: few or many groups of one class each, groups with clips of several classes, and people
who do every exercise. Uneven is the standard deviation, over the folds, of the number of a class's clips, divided by
the number of its clips; it is the mean over classes. A gap is a fold without a class that has at least as many groups
as there are folds. Where groups have several classes, some gaps are unavoidable.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import mean, pstdev

from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.helpers.command_line import argument_parser
from benchmarks.helpers.tables import markdown_table
from data.dataset.group_assignment import assign_groups

Groups = dict[str, Counter[str]]
"""By group, the number of its clips in each class."""

Method = Callable[[Groups, int, int], dict[str, int]]
"""From groups, the number of folds and a seed to the fold of each group."""


@dataclass(frozen=True, slots=True)
class FoldQuality:
    """How well one method distributed groups over folds."""

    uneven: float
    gaps: int
    seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table with two rows per kind of groups."""
    parser = argument_parser(__doc__)
    parser.add_argument("--instances", type=int, default=30, metavar="N", help="per kind of groups; default: 30")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    rows = [row for kind, draw in _KINDS.items() for row in _rows(kind, draw, args.instances)]
    print(markdown_table(rows, ["groups", "folds by", "uneven", "gaps", "seconds"]))


def _rows(kind: str, draw: Callable[[Random, int, int], Groups], instances: int) -> list[list[str]]:
    random = Random(0)
    methods: dict[str, Method] = {"ours": _our_folds, "scikit-learn": _sklearn_folds}
    results: dict[str, list[FoldQuality]] = {name: [] for name in methods}
    for seed in range(instances):
        folds = random.randint(2, 6)
        groups = draw(random, random.randint(2, 12), folds)
        for name, method in methods.items():
            results[name].append(_measure(groups, folds, seed, method))
    return [
        [
            kind,
            name,
            f"{mean(each.uneven for each in found):.4f}",
            str(sum(each.gaps for each in found)),
            f"{mean(each.seconds for each in found):.3f}",
        ]
        for name, found in results.items()
    ]


def _measure(groups: Groups, folds: int, seed: int, method: Method) -> FoldQuality:
    start = time.perf_counter()
    fold_of = method(groups, folds, seed)
    seconds = time.perf_counter() - start
    clips_in: Counter[tuple[str, int]] = Counter()
    groups_with: Counter[str] = Counter()
    for group, content in groups.items():
        for name, clips in content.items():
            clips_in[name, fold_of[group]] += clips
            groups_with[name] += 1
    clips_per_fold = {name: [clips_in[name, fold] for fold in range(folds)] for name in groups_with}
    gaps = sum(counts.count(0) for name, counts in clips_per_fold.items() if groups_with[name] >= folds)
    return FoldQuality(mean(pstdev(counts) / sum(counts) for counts in clips_per_fold.values()), gaps, seconds)


def _our_folds(groups: Groups, folds: int, seed: int) -> dict[str, int]:
    classes = {name for content in groups.values() for name in content}
    return assign_groups(groups, [1] * folds, min_parts=dict.fromkeys(classes, 1), fixed={}, last_weight=1, seed=seed)


def _sklearn_folds(groups: Groups, folds: int, seed: int) -> dict[str, int]:
    classes = [name for content in groups.values() for name in content.elements()]
    group_of_clip = [group for group, content in groups.items() for _ in content.elements()]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = splitter.split(classes, classes, group_of_clip)
    return {group_of_clip[clip]: fold for fold, (_, held_out) in enumerate(parts) for clip in held_out}


def _single_class_groups(fewest: int, most: int) -> Callable[[Random, int, int], Groups]:
    def draw(random: Random, classes: int, folds: int) -> Groups:
        return {
            f"{label}-{number}": Counter({f"class {label}": min(30, 1 + int(random.expovariate(0.2)))})
            for label in range(classes)
            for number in range(max(folds, random.randint(fewest, most)))
        }

    return draw


def _mixed_groups(per_class: int) -> Callable[[Random, int, int], Groups]:
    def draw(random: Random, classes: int, folds: int) -> Groups:
        return {
            str(number): Counter(f"class {label}" for label in random.choices(range(classes), k=random.randint(1, 6)))
            for number in range(max(folds, per_class * classes))
        }

    return draw


def _people(random: Random, classes: int, folds: int) -> Groups:
    people = range(random.randint(folds, 20))
    return {
        str(person): Counter({f"class {label}": random.randint(1, 4) for label in range(classes)}) for person in people
    }


_KINDS = {
    "one class, 3 to 10": _single_class_groups(3, 10),
    "one class, 10 to 40": _single_class_groups(10, 40),
    "mixed, 2 per class": _mixed_groups(2),
    "mixed, 4 per class": _mixed_groups(4),
    "people": _people,
}

if __name__ == "__main__":
    main()
