"""Grouped, stratified folds: how even are ours, how even those of scikit-learn's StratifiedGroupKFold?

    python -m benchmarks.fold_evenness

Both share out the same random groups: few or many of one class each, groups with clips of several classes, and people
who do every exercise. Uneven is the standard deviation of a class's clips over the folds as a part of its clips, mean
over classes. A gap is a fold that lacks a class, though the class has as many groups as there are folds; where groups
have several classes, some gaps can't be helped.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import mean, pstdev

from sklearn.model_selection import StratifiedGroupKFold
from tabulate import tabulate

from data.dataset.group_assignment import assign_groups

Groups = dict[str, Counter[str]]


@dataclass(frozen=True, slots=True)
class Result:
    """What one way of placing groups came to."""

    uneven: float
    gaps: int
    seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table, two rows a kind of data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=30, metavar="N", help="of each kind; default: 30")
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    rows = []
    for kind, draw in _KINDS.items():
        random = Random(0)
        found: dict[str, list[Result]] = {"ours": [], "scikit-learn": []}
        for seed in range(args.instances):
            folds = random.randint(2, 6)
            groups = draw(random, random.randint(2, 12), folds)
            for who, place in (("ours", _ours), ("scikit-learn", _theirs)):
                found[who].append(_measure(groups, folds, seed, place))
        for who, results in found.items():
            uneven, seconds = mean(each.uneven for each in results), mean(each.seconds for each in results)
            rows.append([kind, who, f"{uneven:.4f}", sum(each.gaps for each in results), f"{seconds:.3f}"])
    print(tabulate(rows, ["groups", "folds by", "uneven", "gaps", "seconds"], tablefmt="github", disable_numparse=True))


def _measure(groups: Groups, folds: int, seed: int, place: Callable[[Groups, int, int], dict[str, int]]) -> Result:
    start = time.perf_counter()
    places = place(groups, folds, seed)
    seconds = time.perf_counter() - start
    counts: Counter[tuple[str, int]] = Counter()
    holders: Counter[str] = Counter()
    for group, content in groups.items():
        for label, clips in content.items():
            counts[label, places[group]] += clips
            holders[label] += 1
    shares = {label: [counts[label, fold] for fold in range(folds)] for label in holders}
    gaps = sum(share.count(0) for label, share in shares.items() if holders[label] >= folds)
    return Result(mean(pstdev(share) / sum(share) for share in shares.values()), gaps, seconds)


def _ours(groups: Groups, folds: int, seed: int) -> dict[str, int]:
    labels = {label for content in groups.values() for label in content}
    return assign_groups(groups, [1] * folds, min_parts=dict.fromkeys(labels, 1), fixed={}, last_weight=1, seed=seed)


def _theirs(groups: Groups, folds: int, seed: int) -> dict[str, int]:
    labels = [label for content in groups.values() for label in content.elements()]
    names = [group for group, content in groups.items() for _ in content.elements()]
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, names)
    return {names[index]: fold for fold, (_, scored) in enumerate(cut) for index in scored}


def _single(fewest: int, most: int) -> Callable[[Random, int, int], Groups]:
    def draw(random: Random, classes: int, folds: int) -> Groups:
        return {
            f"{label}-{number}": Counter({f"class {label}": min(30, 1 + int(random.expovariate(0.2)))})
            for label in range(classes)
            for number in range(max(folds, random.randint(fewest, most)))
        }

    return draw


def _mixed(per_class: int) -> Callable[[Random, int, int], Groups]:
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
    "one class, 3 to 10": _single(3, 10),
    "one class, 10 to 40": _single(10, 40),
    "mixed, 2 a class": _mixed(2),
    "mixed, 4 a class": _mixed(4),
    "people": _people,
}

if __name__ == "__main__":
    main()
