"""Backtracking search for an assignment that has each class in as many parts as it should be in."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from data.dataset.assignment import UNASSIGNED, Assignment

_FIRST_STEPS = 200
_RESTARTS = 8
# Lowering the number of parts takes many searches, most of which fail.
_LOWERING_RESTARTS = 3


def cover_classes(assignment: Assignment, classes: Sequence[int], restarts: int = _RESTARTS) -> list[int] | None:
    """Assign groups until each class is in as many parts as it should be in.

    A depth-first search that restarts with more steps each time and begins with the classes that failed most
    (Boussemart et al., Boosting systematic search by weighting constraints, ECAI 2004). It is complete for small
    problems and limited for large ones.

    Returns:
        The groups assigned; or None, with the assignment unchanged, if the search found nothing.
    """
    if any(assignment.slack(class_) < 0 for class_ in classes):
        return None
    wanted = set(classes)
    steps = _FIRST_STEPS + len(assignment.parts) * len(classes)
    for _ in range(restarts):
        trail: list[tuple[int, list[int]]] = []
        queue = [assignment.urgency(class_) for class_ in classes]
        heapq.heapify(queue)
        for _ in range(steps):
            while queue and _is_stale(assignment, queue[0]):
                heapq.heappop(queue)
            if not queue:
                return [group for group, _ in trail]
            assignment.steps += 1
            group = next(g for g in assignment.groups_of[queue[0][-1]] if assignment.part_of[g] == UNASSIGNED)
            trail.append((group, assignment.ranked_parts(group)))
            while trail and not _try_next_part(assignment, *trail[-1], wanted, queue):
                trail.pop()
            if not trail:
                return None
        for group, _ in trail:
            assignment.unassign(group)
        steps *= 2
    return None


def _is_stale(assignment: Assignment, urgency: tuple[int, int, int, int]) -> bool:
    class_ = urgency[-1]
    return urgency != assignment.urgency(class_) or not assignment.missing_parts(class_)


def _try_next_part(
    assignment: Assignment,
    group: int,
    untried: list[int],
    wanted: set[int],
    queue: list[tuple[int, int, int, int]],
) -> bool:
    """Move the group to its next untried part that leaves its `wanted` classes enough groups; False if none does."""
    classes = [class_ for class_ in assignment.clips[group] if class_ in wanted]
    if assignment.part_of[group] != UNASSIGNED:
        assignment.unassign(group)
    while untried and assignment.part_of[group] == UNASSIGNED:
        assignment.assign(group, untried.pop(0))
        starved = [class_ for class_ in classes if assignment.slack(class_) < 0]
        for class_ in starved:
            assignment.failures[class_] += 1
        if starved:
            assignment.unassign(group)
    for class_ in classes:
        heapq.heappush(queue, assignment.urgency(class_))
    return assignment.part_of[group] != UNASSIGNED


def lower_wanted_parts(assignment: Assignment, classes: Sequence[int]) -> bool:
    """Lower how many parts the classes should be in, those that failed most first, until all can be covered.

    Returns:
        Whether they can be covered; False if a class can't even be in its minimum of parts.
    """
    lowered: list[int] = []
    able = [class_ for class_ in classes if _can_be_lowered(assignment, class_)]
    while able:
        lowered.append(max(able, key=lambda class_: (assignment.failures[class_], -class_)))
        assignment.wanted_parts[lowered[-1]] -= 1
        able = [class_ for class_ in able if _can_be_lowered(assignment, class_)]
        if _can_cover(assignment, classes, _LOWERING_RESTARTS if able else _RESTARTS):
            break
    else:
        return False
    # A class that turns out not to have been in the way gets its parts back.
    for class_ in reversed(lowered[:-1]):
        assignment.wanted_parts[class_] += 1
        if not _can_cover(assignment, classes, _LOWERING_RESTARTS):
            assignment.wanted_parts[class_] -= 1
    return True


def uncoverable_class(assignment: Assignment, classes: Sequence[int]) -> int:
    """Return the first class, those with the fewest groups first, that can't be covered along with those before it."""
    ordered = sorted(classes, key=lambda class_: (len(assignment.groups_of[class_]), class_))
    fits, fails = 0, len(ordered)
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _can_cover(assignment, ordered[:middle]):
            fits = middle
        else:
            fails = middle
    return ordered[fails - 1]


def _can_be_lowered(assignment: Assignment, class_: int) -> bool:
    return assignment.wanted_parts[class_] > assignment.min_parts[class_]


def _can_cover(assignment: Assignment, classes: Sequence[int], restarts: int = _RESTARTS) -> bool:
    assigned = cover_classes(assignment, classes, restarts)
    for group in assigned or ():
        assignment.unassign(group)
    return assigned is not None
