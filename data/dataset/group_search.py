"""How whole groups are placed: every class in every place that its groups allow, and near its share of each."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

_FREE = -1
_FIRST_STEPS = 200
_RESTARTS = 8
# To settle for less takes many searches, most of them in vain.
_SETTLING_RESTARTS = 3
_IMPROVE_ROUNDS = 20
# All pairs of a class's groups are tried; with more groups than this, moving single ones comes close enough.
_PAIRS_UP_TO = 32
_ATTEMPTS = 100
_ATTEMPT_BUDGET = 20_000
_STEP_BUDGET = 10_000
_WEIGHT_UNIT = 10**9


class NoPlacement(Exception):
    """Nothing was found that has `label` in as many places as it needs."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


def place_groups(
    groups: Mapping[str, Mapping[str, int]],
    shares: Sequence[int],
    *,
    least: Mapping[str, int],
    pinned: Mapping[str, int],
    stress: int,
    seed: int,
) -> dict[str, int]:
    """Return the place, an index of `shares`, of each group.

    Each class stands in the last place, and in as many of the others as was found. Of its clips, the parts in
    the places are as near `shares` as was found, and those in the last place rather from many small groups than
    from few large ones. The order of the groups doesn't matter: they are ordered by a hash of their names and the
    seed, and everything is counted in whole numbers, so that every machine finds the same.

    Args:
        groups: the clips of each class in a group.
        shares: what part of a class's clips each place should have, in units of their sum.
        least: how many places each class must stand in.
        pinned: groups whose place is given.
        stress: how many times the last place's distance from its share counts.
        seed: chooses among placements that are equally good.

    Raises:
        NoPlacement: for one of the classes that `least` is too much for.
    """
    labels = sorted(least)
    for label in labels:
        if sum(label in contents for contents in groups.values()) < least[label]:
            raise NoPlacement(label)
    index = {label: number for number, label in enumerate(labels)}
    keys = {group: hashlib.sha256(f"{seed}\n{group}".encode()).digest() for group in groups}
    names = sorted(groups, key=lambda group: (-sum(groups[group].values()), keys[group]))
    board = _Board(
        [{index[label]: count for label, count in sorted(groups[name].items())} for name in names],
        shares,
        stress,
        [least[label] for label in labels],
        [keys[name][0] for name in names],
    )
    for group, name in enumerate(names):
        if name in pinned:
            board.put(group, pinned[name])
    attempts = max(1, min(_ATTEMPTS, _ATTEMPT_BUDGET // max(1, sum(map(len, groups.values())))))
    orders = [
        [hashlib.sha256(keys[name] + bytes([attempt])).digest() if attempt else b"" for name in names]
        for attempt in range(attempts)
    ]
    for component in _components(board):
        while not _place_component(board, component, orders):
            if not _settle_for_less(board, component):
                raise NoPlacement(labels[_blamed(board, component)])
    return dict(zip(names, board.place, strict=True))


class _Board:
    """Groups being placed, and how far each class is from its share of each place.

    Groups, classes and places are numbers. Clips are counted in units of 1 / sum(shares), so that shares of
    them are whole. The cost is the sum over classes and places of (clips - share of clips)² / clips of the
    class, the last place counted `stress` times.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[int, int]],
        shares: Sequence[int],
        stress: int,
        least: Sequence[int],
        turns: Sequence[int],
    ) -> None:
        unit = sum(shares)
        sizes = [0] * len(least)
        self.members: list[list[int]] = [[] for _ in least]
        for number, group in enumerate(groups):
            for label, count in group.items():
                sizes[label] += count
                self.members[label].append(number)
        self.unit = unit
        self.shares = shares
        self.places = range(len(shares))
        self.last = len(shares) - 1
        self.profiles = [{label: unit * count for label, count in group.items()} for group in groups]
        self.sizes = [sum(group.values()) for group in groups]
        self.stress = [1] * self.last + [stress]
        self.weights = [_WEIGHT_UNIT // max(size, 1) for size in sizes]
        self.excess = [[-size * share for share in shares] for size in sizes]
        self.total_excess = [0] * len(shares)
        self.held = [[0] * len(shares) for _ in least]
        self.free = [len(members) for members in self.members]
        self.least = least
        self.need = [max(low, min(len(members), len(shares))) for low, members in zip(least, self.members, strict=True)]
        self.place = [_FREE] * len(groups)
        self.turns = turns
        self.failures = [0] * len(least)
        self.steps = 0

    def put(self, group: int, place: int) -> None:
        assert self.place[group] == _FREE
        self.place[group] = place
        self._count(group, place, 1)

    def lift(self, group: int) -> None:
        place, self.place[group] = self.place[group], _FREE
        self._count(group, place, -1)

    def _count(self, group: int, place: int, sign: int) -> None:
        for label, clips in self.profiles[group].items():
            self.excess[label][place] += sign * clips
            self.held[label][place] += sign
            self.free[label] -= sign
        for other, share in enumerate(self.shares):
            self.total_excess[other] += sign * self.sizes[group] * (self.unit * (other == place) - share)

    def lacking(self, label: int) -> int:
        """How many more places the class needs to stand in."""
        held = self.held[label]
        return max(self.need[label] - len(held) + held.count(0), not held[-1])

    def slack(self, label: int) -> int:
        """How many free groups of the class there are beyond those it needs."""
        return self.free[label] - self.lacking(label)

    def urgency(self, label: int) -> tuple[int, int, int, int]:
        """Sorts the classes: least slack first, then fewest places to go (their groups have the least choice)."""
        lacking = self.lacking(label)
        return self.free[label] - lacking, lacking, -self.failures[label], label

    def preferences(self, group: int) -> list[int]:
        """The places for a free group: first those that its classes need, then the cheapest, then the emptiest.

        What is still equal goes first to the first place, then to the others in the group's own turn.
        """
        profile = self.profiles[group]
        open_labels = [label for label in profile if self.lacking(label)]

        def rank(place: int) -> tuple[int, int, int, bool, int]:
            needed = sum(self._needs(label, place) for label in open_labels)
            cost = self.stress[place] * sum(
                self.weights[label] * clips * (2 * self.excess[label][place] + clips)
                for label, clips in profile.items()
            )
            turn = (place - 1 - self.turns[group]) % self.last
            return -needed, cost, self.total_excess[place], place != 0, turn

        return sorted(self.places, key=rank)

    def _needs(self, label: int, place: int) -> bool:
        """Whether a group in that place leaves the class less to go: the last place is needed, others may be enough."""
        held = self.held[label]
        return not held[place] and (place == self.last or self.lacking(label) > (not held[-1]))

    def cost(self, labels: Sequence[int]) -> int:
        return sum(
            self.weights[label] * stress * excess**2
            for label in labels
            for stress, excess in zip(self.stress, self.excess[label], strict=True)
        )

    def crowding(self, labels: Sequence[int]) -> int:
        """How many clips of its class a clip in the last place has in its group, with itself: means, added up."""
        total = 0
        for label in labels:
            found = [self.profiles[g][label] for g in self.members[label] if self.place[g] == self.last]
            total += _WEIGHT_UNIT * sum(clips**2 for clips in found) // sum(found)
        return total

    def shift_cost(self, profile: Mapping[int, int], source: int, target: int) -> int:
        """What it adds to the cost when so many clips of each class (or fewer, if negative) change places."""
        leave, join = self.stress[source], self.stress[target]
        return sum(
            self.weights[label]
            * clips
            * (join * (2 * self.excess[label][target] + clips) - leave * (2 * self.excess[label][source] - clips))
            for label, clips in profile.items()
        )

    def keeps_places(self, labels: Iterable[int], source: int, target: int) -> bool:
        """Whether the classes stand in as many places as before, and in the last, when a group of theirs shifts."""
        return all(
            self.held[label][source] > 1 or (source != self.last and not self.held[label][target]) for label in labels
        )


def _place_component(board: _Board, labels: Sequence[int], orders: Sequence[Sequence[bytes]]) -> bool:
    """Place the free groups of these classes, which no other class shares; False where no way was found.

    One local optimum can be a poor one, so the groups are gone through in each of `orders` (sort keys of all
    groups), and the cheapest end is kept; of equals the one that has all clips together nearest to their share of
    the last place, and then the least crowding there. Where covering the classes is hard, fewer orders are tried.
    """
    begun = board.steps
    groups = sorted({g for label in labels for g in board.members[label] if board.place[g] == _FREE})
    best: dict[int, int] = {}
    lowest: tuple[int, int, int] | None = None
    for order in orders:
        for movable in (groups, *(board.members[label] for label in labels)):
            movable.sort(key=order.__getitem__)
        if _cover(board, labels) is None:
            break
        for group in groups:
            if board.place[group] == _FREE:
                board.put(group, board.preferences(group)[0])
        _improve(board, labels, groups)
        cost = board.cost(labels), abs(board.total_excess[board.last]), board.crowding(labels)
        if lowest is None or cost < lowest:
            lowest, best = cost, {group: board.place[group] for group in groups}
        for group in groups:
            board.lift(group)
        if board.steps - begun > _STEP_BUDGET:
            break
    for group, place in best.items():
        board.put(group, place)
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


def _cover(board: _Board, labels: Sequence[int], restarts: int = _RESTARTS) -> list[int] | None:
    """Place groups until each class of `labels` stands where it needs to; return the groups placed.

    A depth-first search that is begun anew, with more steps each time, and goes first to the classes that
    failed most (Boussemart et al., Boosting systematic search by weighting constraints, ECAI 2004): small
    problems are searched completely, large ones up to a limit. None, with the board as it was, where nothing
    was found.
    """
    if any(board.slack(label) < 0 for label in labels):
        return None
    wanted = set(labels)
    steps = _FIRST_STEPS + len(board.places) * len(labels)
    for _ in range(restarts):
        trail: list[tuple[int, list[int]]] = []
        queue = [board.urgency(label) for label in labels]
        heapq.heapify(queue)
        for _ in range(steps):
            while queue and (queue[0] != board.urgency(queue[0][-1]) or not board.lacking(queue[0][-1])):
                heapq.heappop(queue)
            if not queue:
                return [group for group, _ in trail]
            board.steps += 1
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
    """Put the group in the next untried place, if any, that leaves its `wanted` classes enough free groups."""
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


def _can_cover(board: _Board, labels: Sequence[int], restarts: int = _RESTARTS) -> bool:
    placed = _cover(board, labels, restarts)
    for group in placed or ():
        board.lift(group)
    return placed is not None


def _settle_for_less(board: _Board, labels: Sequence[int]) -> bool:
    """Lower how many places the classes need, those that failed most first, until all can be covered.

    What turns out not to have been in the way is raised again. False where some class can't even have the least.
    """
    lowered: list[int] = []
    able = [label for label in labels if board.need[label] > board.least[label]]
    while able:
        lowered.append(max(able, key=lambda label: (board.failures[label], -label)))
        board.need[lowered[-1]] -= 1
        able = [label for label in able if board.need[label] > board.least[label]]
        if _can_cover(board, labels, _SETTLING_RESTARTS if able else _RESTARTS):
            break
    else:
        return False
    for label in reversed(lowered[:-1]):
        board.need[label] += 1
        if not _can_cover(board, labels, _SETTLING_RESTARTS):
            board.need[label] -= 1
    return True


def _blamed(board: _Board, component: Sequence[int]) -> int:
    """Return the first class, those with the fewest groups first, that can't be covered beside those before."""
    labels = sorted(component, key=lambda label: (len(board.members[label]), label))
    fits, fails = 0, len(labels)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _can_cover(board, labels[:middle]):
            fits = middle
        else:
            fails = middle
    return labels[fails - 1]


def _improve(board: _Board, labels: Sequence[int], movable: Sequence[int]) -> None:
    """Move groups, and swap pairs of them, as long as that lowers the cost and no class loses a place."""
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
    targets = [place for place in board.places if place != source and board.keeps_places(profile, source, place)]
    cost, target = min(((board.shift_cost(profile, source, place), place) for place in targets), default=(0, source))
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
    if (
        gains
        and board.keeps_places(leaving.keys() - joining.keys(), source, target)
        and board.keeps_places(joining.keys() - leaving.keys(), target, source)
    ):
        board.lift(one)
        board.lift(other)
        board.put(one, target)
        board.put(other, source)
        return True
    return False
