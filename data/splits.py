"""How clips go to train, val and test (stratified by class, whole groups), and the CSV file that keeps it."""

import csv
import hashlib
import heapq
import io
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from pathlib import Path

from data.clips import Clip, read_table
from data.errors import DataError

SPLITS = ("train", "val", "test")
LEFT_OUT = "left-out"
"""Stands in place of a split for the clips of a class that is left out."""
FEW_GROUPS = ("refuse", "leave-out", "train")
"""What to do with a class that has fewer than three groups."""

_COLUMNS = ("path", "label", "group", "split")
_TRAIN = 0
_FREE = -1
_FIRST_STEPS = 200
_RESTARTS = 8
_IMPROVE_ROUNDS = 20
# All pairs of a class's groups are tried; with more groups than this, moving single ones comes close enough.
_PAIRS_UP_TO = 32
_ATTEMPTS = 100
_ATTEMPT_BUDGET = 20_000
_WEIGHT_UNIT = 10**9


@dataclass(frozen=True, slots=True)
class Assigned:
    """A clip and where it goes: one of SPLITS, or LEFT_OUT."""

    clip: Clip
    split: str


@dataclass(frozen=True)
class Split:
    """Which clip goes where. Rows are kept sorted by path, so equal splits have equal bytes and hashes."""

    rows: tuple[Assigned, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: row.clip.path)))

    def clips(self, split: str) -> list[Clip]:
        """Return the clips of one of SPLITS (or LEFT_OUT), sorted by path."""
        assert split in (*SPLITS, LEFT_OUT), split
        return [row.clip for row in self.rows if row.split == split]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels to train on, sorted: a class's index here is its index in the logits."""
        return tuple(sorted({row.clip.label for row in self.rows if row.split == "train"}))

    @cached_property
    def sha256(self) -> str:
        """The hash of `to_csv()` in hexadecimal digits."""
        return hashlib.sha256(self.to_csv()).hexdigest()

    def to_csv(self) -> bytes:
        """Return the split file: UTF-8, `\\n` line ends, columns path, label, group and split."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((row.clip.path, row.clip.label, row.clip.group, row.split) for row in self.rows)
        return text.getvalue().encode()

    def summary(self) -> str:
        """Return a printable table, a line a class: its clips in each split and, in brackets, their groups."""
        columns = SPLITS + ((LEFT_OUT,) if any(row.split == LEFT_OUT for row in self.rows) else ())
        cells: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for row in self.rows:
            cells[row.clip.label, row.split].append(row.clip.group)
            cells["", row.split].append(row.clip.group)
        labels = sorted({row.clip.label for row in self.rows})
        table = [["clips (groups)", *columns]]
        for label in (*labels, ""):
            found = [cells[label, split] for split in columns]
            table.append([label or "all", *(f"{len(groups)} ({len(set(groups))})" for groups in found)])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in table)


def make_split(
    clips: Sequence[Clip], *, val: float = 0.15, test: float = 0.15, seed: int = 0, few_groups: str = "refuse"
) -> Split:
    """Return a split that keeps groups whole and has every class in train, val and test.

    Of each class, the parts of clips in val and test are as near `val` and `test` as was found. A class with
    fewer than three groups can't stand in three splits: `few_groups` says whether to `refuse` it, to
    `leave-out` its clips, or to `train` on it (whole groups, whatever else is in them) and never test it.

    The same clips, in any order, and the same settings give the same bytes on every machine: names are ordered
    by a hash of them and the seed, and everything is counted in whole numbers.

    Raises DataError for fractions that leave a split without clips, for classes with too few groups, and where
    groups with clips of several classes make the split impossible.
    """
    shares = _whole_shares(val, test)
    if few_groups not in FEW_GROUPS:
        raise DataError(f"few_groups is {few_groups!r}: give one of {', '.join(FEW_GROUPS)}")
    clips = sorted(clips)
    assert len({clip.path for clip in clips}) == len(clips), "a clip was given twice"
    by_label: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_label[clip.label].append(clip)
    few = {label for label, found in by_label.items() if len({clip.group for clip in found}) < len(SPLITS)}
    _check_few(by_label, few, few_groups)
    kept = [clip for clip in clips if clip.label not in few]
    pinned = {clip.group for clip in clips if clip.label in few} if few_groups == "train" else set()
    places = _place_groups(kept, shares, seed, pinned)
    rows = [Assigned(clip, SPLITS[places[clip.group]]) for clip in kept]
    few_split = "train" if few_groups == "train" else LEFT_OUT
    rows += [Assigned(clip, few_split) for clip in clips if clip.label in few]
    return Split(tuple(rows))


def write_split(split: Split, path: Path) -> None:
    """Write the split file, whole or not at all; missing folders above it are made.

    Raises DataError where it can't be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(split.to_csv())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"can't write the split to '{path}': {error.strerror}") from error


def read_split(path: Path) -> Split:
    """Return the split that a file holds, whatever its order of rows and line ends.

    Raises DataError for a file that isn't such a CSV, a clip that stands in it twice or lies outside the data
    folder, a group in more than one split, fewer than two classes to train on, an empty val or test, and a
    class in val or test that train lacks.
    """
    rows: dict[str, Assigned] = {}
    for line, (name, label, group, split) in read_table(path, _COLUMNS):
        where = f"'{path}', line {line}"
        if split not in (*SPLITS, LEFT_OUT):
            raise DataError(f"{where}: the split is {split!r}; give one of {', '.join((*SPLITS, LEFT_OUT))}")
        if name in rows:
            raise DataError(f"{where}: clip {name!r} stands further up too; keep one of the lines")
        try:
            rows[name] = Assigned(Clip(name, label, group), split)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    found = Split(tuple(rows.values()))
    _check_usable(found, path)
    return found


def check_split(split: Split, root: Path, clips: Sequence[Clip]) -> list[str]:
    """Return the sorted names of the `clips` found in the folder `root` that the split doesn't list.

    Raises DataError where the folder lacks a clip of the split or has it under another label; clips that are
    left out don't matter.
    """
    labels = {clip.path: clip.label for clip in clips}
    used = [row.clip for row in split.rows if row.split != LEFT_OUT]
    missing = [clip.path for clip in used if clip.path not in labels]
    if missing:
        raise DataError(
            f"{len(missing)} of the split's {len(used)} clips are not in '{root}', the first is {missing[0]!r}: "
            "put them back, or make a new split"
        )
    for clip in used:
        if clip.label != labels[clip.path]:
            raise DataError(
                f"clip {clip.path!r} has the label {clip.label!r} in the split and {labels[clip.path]!r} in "
                f"'{root}': mend the one that is wrong, or make a new split"
            )
    listed = {row.clip.path for row in split.rows}
    return sorted(path for path in labels if path not in listed)


class _Board:
    """Groups being placed in splits, and how far each class is from its share.

    Groups, classes and splits are numbers. Clips are counted in units of 1 / sum(shares), so that shares of
    them are whole. The cost is the sum over classes and splits of (clips - share of clips)² / clips of the
    class.
    """

    def __init__(self, groups: Sequence[Counter[int]], shares: tuple[int, int, int], seconds: Sequence[int]):
        unit = sum(shares)
        sizes: Counter[int] = Counter()
        for group in groups:
            sizes.update(group)
        self.unit = unit
        self.profiles = [{label: unit * count for label, count in group.items()} for group in groups]
        self.sizes = [group.total() for group in groups]
        self.members: list[list[int]] = [[] for _ in sizes]
        for number, profile in enumerate(self.profiles):
            for label in profile:
                self.members[label].append(number)
        self.weights = [_WEIGHT_UNIT // sizes[label] for label in range(len(sizes))]
        self.excess = [[-sizes[label] * share for share in shares] for label in range(len(sizes))]
        self.total_excess = [0] * len(SPLITS)
        self.shares = shares
        self.held = [[0] * len(SPLITS) for _ in sizes]
        self.free = [len(members) for members in self.members]
        self.place = [_FREE] * len(groups)
        self.seconds = seconds
        self.failures = [0] * len(sizes)

    def put(self, group: int, split: int) -> None:
        assert self.place[group] == _FREE
        self.place[group] = split
        self._count(group, split, 1)

    def lift(self, group: int) -> None:
        split, self.place[group] = self.place[group], _FREE
        self._count(group, split, -1)

    def _count(self, group: int, split: int, sign: int) -> None:
        for label, clips in self.profiles[group].items():
            self.excess[label][split] += sign * clips
            self.held[label][split] += sign
            self.free[label] -= sign
        for other, share in enumerate(self.shares):
            self.total_excess[other] += sign * self.sizes[group] * (self.unit * (other == split) - share)

    def slack(self, label: int) -> int:
        """How many free groups of the class there are beyond those it needs to stand in every split."""
        return self.free[label] - self.held[label].count(0)

    def urgency(self, label: int) -> tuple[int, int, int, int]:
        """Sorts the classes: least slack first, then fewest splits to go (their groups have the least choice)."""
        lacking = self.held[label].count(0)
        return self.free[label] - lacking, lacking, -self.failures[label], label

    def preferences(self, group: int) -> list[int]:
        """The splits for a free group: first those that its classes lack, then the cheapest, then the emptiest.

        What is still equal goes first to train, then to the group's own second choice.
        """
        profile = self.profiles[group]

        def rank(split: int) -> tuple[int, int, int, bool, bool]:
            lacking = sum(not self.held[label][split] for label in profile)
            cost = sum(
                self.weights[label] * clips * (2 * self.excess[label][split] + clips)
                for label, clips in profile.items()
            )
            return -lacking, cost, self.total_excess[split], split != _TRAIN, split != self.seconds[group]

        return sorted(range(len(SPLITS)), key=rank)

    def cost(self, labels: Sequence[int]) -> int:
        return sum(self.weights[label] * excess**2 for label in labels for excess in self.excess[label])

    def shift_cost(self, profile: dict[int, int], source: int, target: int) -> int:
        """What it adds to the cost when so many clips of each class (or fewer, if negative) change splits."""
        return sum(
            2 * self.weights[label] * clips * (self.excess[label][target] - self.excess[label][source] + clips)
            for label, clips in profile.items()
        )

    def can_leave(self, group: int, joining: dict[int, int]) -> bool:
        """Whether the group's classes stay in its split when it leaves and clips of `joining` come."""
        split = self.place[group]
        return all(self.held[label][split] > 1 or label in joining for label in self.profiles[group])


def _whole_shares(val: float, test: float) -> tuple[int, int, int]:
    for name, value in (("val", val), ("test", test)):
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"{name} is {value}: give a fraction above 0, such as 0.15")
    # The decimal number that was typed is meant, not the binary one next to it.
    parts = Fraction(str(val)), Fraction(str(test))
    if sum(parts) >= 1:
        raise DataError(f"val {val} and test {test} leave nothing to train on: their sum must be below 1")
    unit = math.lcm(*(part.denominator for part in parts))
    val_share, test_share = (int(part * unit) for part in parts)
    return unit - val_share - test_share, val_share, test_share


def _check_few(by_label: dict[str, list[Clip]], few: set[str], few_groups: str) -> None:
    if len(by_label) < 2:
        raise DataError(f"a split needs clips of at least two classes, not {len(by_label)}: add clips of others")
    named = ", ".join(f"class {label!r} has {_counts(by_label[label])}" for label in sorted(few))
    if few and few_groups == "refuse":
        raise DataError(
            f"{named}, but train, val and test need 3 groups: pass --few-groups leave-out (drop the class) or "
            "--few-groups train (train on it, never test it)"
        )
    left = len(by_label) - len(few)
    if few_groups == "leave-out" and left < 2:
        raise DataError(
            f"{named}: leaving out each class with fewer than 3 groups leaves {left} of {len(by_label)} classes, "
            "but at least 2 are needed; add clips from other sources"
        )
    if left == 0:
        raise DataError(
            f"{named}: no class has the 3 groups that train, val and test need, so val and test would be empty; "
            "add clips from other sources"
        )


def _counts(clips: Sequence[Clip]) -> str:
    groups = len({clip.group for clip in clips})
    return f"{len(clips)} clip{'' if len(clips) == 1 else 's'} in {groups} group{'' if groups == 1 else 's'}"


def _place_groups(clips: Sequence[Clip], shares: tuple[int, int, int], seed: int, pinned: set[str]) -> dict[str, int]:
    """Return the index in SPLITS for each group of `clips`; those in `pinned` go to train."""
    labels = sorted({clip.label for clip in clips})
    index = {label: number for number, label in enumerate(labels)}
    contents: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for clip in clips:
        contents[clip.group][index[clip.label]] += 1
    keys = {group: hashlib.sha256(f"{seed}\n{group}".encode()).digest() for group in contents}
    names = sorted(contents, key=lambda group: (-contents[group].total(), keys[group]))
    board = _Board([contents[name] for name in names], shares, [1 + keys[name][0] % 2 for name in names])
    for group, name in enumerate(names):
        if name in pinned:
            board.put(group, _TRAIN)
    attempts = max(1, min(_ATTEMPTS, _ATTEMPT_BUDGET // sum(map(len, contents.values()))))
    orders = [
        [hashlib.sha256(keys[name] + bytes([attempt])).digest() if attempt else b"" for name in names]
        for attempt in range(attempts)
    ]
    for component in _components(board):
        if not _place_component(board, component, orders):
            label = labels[_blamed(board, component)]
            counts = _counts([clip for clip in clips if clip.label == label])
            raise DataError(
                f"found no split that has class {label!r} ({counts}) in train, val and test: groups that it "
                "shares with other classes go together; add clips of it in groups of their own"
            )
    return dict(zip(names, board.place, strict=True))


def _place_component(board: _Board, labels: Sequence[int], orders: Sequence[Sequence[bytes]]) -> bool:
    """Place the free groups of these classes, which no other class shares; False where no split was found.

    One local optimum can be a poor one, so the groups are gone through in each of `orders` (sort keys of all
    groups), and the cheapest end is kept.
    """
    groups = sorted({g for label in labels for g in board.members[label] if board.place[g] == _FREE})
    best: dict[int, int] = {}
    lowest: int | None = None
    for order in orders:
        for movable in (groups, *(board.members[label] for label in labels)):
            movable.sort(key=order.__getitem__)
        if _cover(board, labels) is None:
            break
        for group in groups:
            if board.place[group] == _FREE:
                board.put(group, board.preferences(group)[0])
        _improve(board, labels, groups)
        cost = board.cost(labels)
        if lowest is None or cost < lowest:
            lowest, best = cost, {group: board.place[group] for group in groups}
        for group in groups:
            board.lift(group)
    for group, split in best.items():
        board.put(group, split)
    return lowest is not None


def _components(board: _Board) -> list[list[int]]:
    """Return the classes in lists, those that share groups (directly or through others) in one."""
    unseen = set(range(len(board.members)))
    components = []
    for start in range(len(board.members)):
        if start not in unseen:
            continue
        unseen.remove(start)
        component = [start]
        for label in component:
            near = {other for group in board.members[label] for other in board.profiles[group]} & unseen
            unseen -= near
            component += sorted(near)
        components.append(component)
    return components


def _cover(board: _Board, labels: Sequence[int]) -> list[int] | None:
    """Place groups until each class of `labels` stands in each split; return the groups placed.

    A depth-first search that is begun anew, with more steps each time, and goes first to the classes that
    failed most (Boussemart et al., Boosting systematic search by weighting constraints, ECAI 2004): small
    problems are searched completely, large ones up to a limit. None, with the board as it was, where nothing
    was found.
    """
    if any(board.slack(label) < 0 for label in labels):
        return None
    wanted = set(labels)
    steps = _FIRST_STEPS + len(SPLITS) * len(labels)
    for _ in range(_RESTARTS):
        trail: list[tuple[int, list[int]]] = []
        queue = [board.urgency(label) for label in labels]
        heapq.heapify(queue)
        for _ in range(steps):
            while queue and (queue[0] != board.urgency(queue[0][-1]) or all(board.held[queue[0][-1]])):
                heapq.heappop(queue)
            if not queue:
                return [group for group, _ in trail]
            group = next(g for g in board.members[queue[0][-1]] if board.place[g] == _FREE)
            trail.append((group, board.preferences(group)))
            while trail and not _advance(board, *trail[-1], wanted, queue):
                trail.pop()
            if not trail:
                return None
        for group, _ in trail:
            board.lift(group)
        steps *= 2
    return None


def _advance(
    board: _Board,
    group: int,
    untried: list[int],
    wanted: set[int],
    queue: list[tuple[int, int, int, int]],
) -> bool:
    """Put the group in the next untried split, if any, that leaves its `wanted` classes enough free groups."""
    profile = [label for label in board.profiles[group] if label in wanted]
    if board.place[group] != _FREE:
        board.lift(group)
    while untried and board.place[group] == _FREE:
        board.put(group, untried.pop(0))
        starved = [label for label in profile if board.slack(label) < 0]
        for label in starved:
            board.failures[label] += 1
        if starved:
            board.lift(group)
    for label in profile:
        heapq.heappush(queue, board.urgency(label))
    return board.place[group] != _FREE


def _blamed(board: _Board, component: Sequence[int]) -> int:
    """Return the first class, those with the fewest groups first, that can't be covered beside those before."""
    labels = sorted(component, key=lambda label: (len(board.members[label]), label))
    fits, fails = 0, len(labels)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        placed = _cover(board, labels[:middle])
        if placed is None:
            fails = middle
        else:
            fits = middle
            for group in placed:
                board.lift(group)
    return labels[fails - 1]


def _improve(board: _Board, labels: Sequence[int], movable: Sequence[int]) -> None:
    """Move groups, and swap pairs of them, as long as that lowers the cost and every class stays in each split."""
    free_to_move = set(movable)
    for _ in range(_IMPROVE_ROUNDS):
        changes = sum([_move(board, group) for group in movable])
        for label in labels:
            pairs = [group for group in board.members[label] if group in free_to_move]
            if len(pairs) <= _PAIRS_UP_TO and any(abs(excess) >= board.unit for excess in board.excess[label]):
                changes += sum([_swap(board, one, other) for one, other in combinations(pairs, 2)])
        if not changes:
            return


def _move(board: _Board, group: int) -> bool:
    source, profile = board.place[group], board.profiles[group]
    if not board.can_leave(group, {}):
        return False
    targets = (split for split in range(len(SPLITS)) if split != source)
    cost, target = min((board.shift_cost(profile, source, split), split) for split in targets)
    if cost < 0:
        board.lift(group)
        board.put(group, target)
    return cost < 0


def _swap(board: _Board, one: int, other: int) -> bool:
    source, target = board.place[one], board.place[other]
    leaving, joining = board.profiles[one], board.profiles[other]
    if source == target or leaving == joining:
        return False
    shift = {label: leaving.get(label, 0) - joining.get(label, 0) for label in leaving | joining}
    gains = board.shift_cost(shift, source, target) < 0
    if gains and board.can_leave(one, joining) and board.can_leave(other, leaving):
        board.lift(one)
        board.lift(other)
        board.put(one, target)
        board.put(other, source)
        return True
    return False


def _check_usable(split: Split, path: Path) -> None:
    place: dict[str, str] = {}
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for row in split.rows:
        labels[row.split].add(row.clip.label)
        if row.split != LEFT_OUT and place.setdefault(row.clip.group, row.split) != row.split:
            raise DataError(
                f"'{path}': group {row.clip.group!r} is in {place[row.clip.group]} and in {row.split}, as "
                f"{row.clip.path!r} is; keep each group in one split"
            )
    if len(labels["train"]) < 2:
        raise DataError(
            f"'{path}': train has {len(labels['train'])} class(es), but at least two are needed; "
            "add groups of others to it"
        )
    for name in ("val", "test"):
        if not labels[name]:
            raise DataError(f"'{path}': {name} has no clips; make a new split, or move whole groups to it")
        strange = sorted(labels[name] - labels["train"])
        if strange:
            raise DataError(f"'{path}': class {strange[0]!r} is in {name} but not in train; add groups of it there")
