"""The state of a search that assigns groups to the parts of a split, and the cost of each change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

UNASSIGNED = -1

_WEIGHT_UNIT = 10**9


class Assignment:
    """The part of each group, and how far each class is from its share of each part.

    Groups, classes and parts are numbers. All counts are whole numbers, so that every machine finds the same: clips
    are counted in units of 1 / sum(shares), which makes shares of them whole. The cost is the sum over classes and
    parts of (clips - share of clips)² / clips of the class; the last part counts `last_weight` times.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[int, int]],
        shares: Sequence[int],
        last_weight: int,
        min_parts: Sequence[int],
        tie_breakers: Sequence[int],
    ) -> None:
        """Start with all groups unassigned.

        Args:
            groups: the clips of each class in each group.
            shares: share of each part in a class's clips, in units of their sum.
            last_weight: weight of the last part in the cost.
            min_parts: how many parts each class must be in.
            tie_breakers: a number for each group that chooses among parts that are equally good.
        """
        unit = sum(shares)
        sizes = [0] * len(min_parts)
        self.groups_of: list[list[int]] = [[] for _ in min_parts]
        """The groups of each class."""
        for number, group in enumerate(groups):
            for class_, count in group.items():
                sizes[class_] += count
                self.groups_of[class_].append(number)
        self.unit = unit
        self.shares = shares
        self.parts = range(len(shares))
        self.last = len(shares) - 1
        self.clips = [{class_: unit * count for class_, count in group.items()} for group in groups]
        """The clips of each class in each group, in units."""
        self.group_sizes = [sum(group.values()) for group in groups]
        self.part_weights = [1] * self.last + [last_weight]
        self.class_weights = [_WEIGHT_UNIT // max(size, 1) for size in sizes]
        self.excess = [[-size * share for share in shares] for size in sizes]
        """Clips above its share, for each class and part, in units."""
        self.total_excess = [0] * len(shares)
        self.held = [[0] * len(shares) for _ in min_parts]
        """Number of groups of each class in each part."""
        self.free = [len(groups) for groups in self.groups_of]
        """Number of unassigned groups of each class."""
        self.min_parts = min_parts
        self.wanted_parts = [
            max(fewest, min(len(found), len(shares))) for fewest, found in zip(min_parts, self.groups_of, strict=True)
        ]
        """How many parts each class should be in: as many as it has groups, until the search lowers it."""
        self.part_of = [UNASSIGNED] * len(groups)
        self.tie_breakers = tie_breakers
        self.failures = [0] * len(min_parts)
        """How often the search ran out of groups of each class."""
        self.steps = 0

    def assign(self, group: int, part: int) -> None:
        """Put an unassigned group into a part."""
        assert self.part_of[group] == UNASSIGNED
        self.part_of[group] = part
        self._count(group, part, 1)

    def unassign(self, group: int) -> None:
        """Take a group out of its part."""
        part, self.part_of[group] = self.part_of[group], UNASSIGNED
        self._count(group, part, -1)

    def _count(self, group: int, part: int, sign: int) -> None:
        for class_, clips in self.clips[group].items():
            self.excess[class_][part] += sign * clips
            self.held[class_][part] += sign
            self.free[class_] -= sign
        for other, share in enumerate(self.shares):
            self.total_excess[other] += sign * self.group_sizes[group] * (self.unit * (other == part) - share)

    def missing_parts(self, class_: int) -> int:
        """Return how many more parts the class should be in."""
        held = self.held[class_]
        return max(self.wanted_parts[class_] - len(held) + held.count(0), not held[-1])

    def slack(self, class_: int) -> int:
        """Return how many unassigned groups of the class there are beyond those that it needs."""
        return self.free[class_] - self.missing_parts(class_)

    def urgency(self, class_: int) -> tuple[int, int, int, int]:
        """Return a sort key of classes: least slack first, then fewest missing parts (their groups have least choice).

        Its last element is the class.
        """
        missing = self.missing_parts(class_)
        return self.free[class_] - missing, missing, -self.failures[class_], class_

    def ranked_parts(self, group: int) -> list[int]:
        """Return the parts for an unassigned group: first those that its classes miss, then cheapest, then emptiest.

        Among equals the first part comes first, then the others in an order that the group's tie-breaker rotates.
        """
        clips_of = self.clips[group]
        incomplete = [class_ for class_ in clips_of if self.missing_parts(class_)]

        def rank(part: int) -> tuple[int, int, int, bool, int]:
            missed = sum(self._misses(class_, part) for class_ in incomplete)
            cost = self.part_weights[part] * sum(
                self.class_weights[class_] * clips * (2 * self.excess[class_][part] + clips)
                for class_, clips in clips_of.items()
            )
            turn = (part - 1 - self.tie_breakers[group]) % self.last
            return -missed, cost, self.total_excess[part], part != 0, turn

        return sorted(self.parts, key=rank)

    def _misses(self, class_: int, part: int) -> bool:
        """Return whether a group in the part lowers `missing_parts`: the last part is required, others may not be."""
        held = self.held[class_]
        return not held[part] and (part == self.last or self.missing_parts(class_) > (not held[-1]))

    def cost(self, classes: Iterable[int]) -> int:
        """Return the weighted squared deviation of these classes from their shares."""
        return sum(
            self.class_weights[class_] * weight * excess**2
            for class_ in classes
            for weight, excess in zip(self.part_weights, self.excess[class_], strict=True)
        )

    def concentration(self, classes: Iterable[int]) -> int:
        """Return the sum over classes of the mean group size, over clips, in the last part: low for many small groups.

        A clip's group size counts the clips of its own class alone.
        """
        total = 0
        for class_ in classes:
            sizes = [self.clips[g][class_] for g in self.groups_of[class_] if self.part_of[g] == self.last]
            total += _WEIGHT_UNIT * sum(size**2 for size in sizes) // sum(sizes)
        return total

    def move_cost(self, clips_of: Mapping[int, int], source: int, target: int) -> int:
        """Return the change of the cost when clips of each class (or fewer, if negative) move to another part."""
        leave, join = self.part_weights[source], self.part_weights[target]
        return sum(
            self.class_weights[class_]
            * clips
            * (join * (2 * self.excess[class_][target] + clips) - leave * (2 * self.excess[class_][source] - clips))
            for class_, clips in clips_of.items()
        )

    def keeps_coverage(self, classes: Iterable[int], source: int, target: int) -> bool:
        """Return whether classes are still in as many parts, and in the last, after a group of theirs moves."""
        return all(
            self.held[class_][source] > 1 or (source != self.last and not self.held[class_][target])
            for class_ in classes
        )
