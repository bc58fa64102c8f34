"""Local search that lowers the cost of an assignment by moving groups and by swapping pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from data.dataset.assignment import Assignment

_ROUNDS = 20
# All pairs of a class's groups are tried. With more groups than this, moving single groups comes close enough.
_MOST_GROUPS_FOR_PAIRS = 32


def improve(assignment: Assignment, classes: Sequence[int], movable: Sequence[int]) -> None:
    """Move and swap the `movable` groups as long as the cost falls and no class loses a part."""
    may_move = set(movable)
    for _ in range(_ROUNDS):
        changes = sum([_move(assignment, group) for group in movable])
        for class_ in classes:
            groups = [group for group in assignment.groups_of[class_] if group in may_move]
            is_uneven = any(abs(excess) >= assignment.unit for excess in assignment.excess[class_])
            if len(groups) <= _MOST_GROUPS_FOR_PAIRS and is_uneven:
                changes += sum([_swap(assignment, one, other) for one, other in combinations(groups, 2)])
        if not changes:
            return


def _move(assignment: Assignment, group: int) -> bool:
    """Move a group to the part that lowers the cost most; return whether there is one."""
    source, clips_of = assignment.part_of[group], assignment.clips[group]
    targets = [
        part for part in assignment.parts if part != source and assignment.keeps_coverage(clips_of, source, part)
    ]
    costs = ((assignment.move_cost(clips_of, source, part), part) for part in targets)
    cost, target = min(costs, default=(0, source))
    if cost < 0:
        assignment.unassign(group)
        assignment.assign(group, target)
    return cost < 0


def _swap(assignment: Assignment, one: int, other: int) -> bool:
    """Swap the parts of two groups if that lowers the cost; return whether it does."""
    source, target = assignment.part_of[one], assignment.part_of[other]
    leaving, joining = assignment.clips[one], assignment.clips[other]
    if source == target or leaving == joining:
        return False
    moved = {class_: leaving.get(class_, 0) - joining.get(class_, 0) for class_ in leaving | joining}
    if (
        assignment.move_cost(moved, source, target) < 0
        and assignment.keeps_coverage(leaving.keys() - joining.keys(), source, target)
        and assignment.keeps_coverage(joining.keys() - leaving.keys(), target, source)
    ):
        assignment.unassign(one)
        assignment.unassign(other)
        assignment.assign(one, target)
        assignment.assign(other, source)
        return True
    return False
