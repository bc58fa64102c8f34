"""Assignment of whole groups to the parts of a split, with every class near its share of each part."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from data.dataset.assignment import UNASSIGNED, Assignment
from data.dataset.coverage_search import cover_classes, lower_wanted_parts, uncoverable_class
from data.dataset.local_search import improve

_ATTEMPTS = 100
_ATTEMPT_BUDGET = 20_000
_STEP_BUDGET = 10_000


class NoAssignmentError(Exception):
    """No assignment was found that has the class `label` in as many parts as it needs."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


def assign_groups(
    clip_counts: Mapping[str, Mapping[str, int]],
    shares: Sequence[int],
    *,
    min_parts: Mapping[str, int],
    fixed: Mapping[str, int],
    last_weight: int,
    seed: int,
) -> dict[str, int]:
    """Assign each group to a part so that every class comes near its shares.

    Each class is in the last part, and in as many of the others as the search finds possible. Its fractions of clips
    in the parts are as near to `shares` as the search finds; among equals, its clips in the last part are from many
    small groups rather than a few large ones. The result is the same for any order of the groups and on every machine:
    groups are ordered by a hash of their names and the seed, and all counts are whole numbers.

    Args:
        clip_counts: the clips of each class in each group.
        shares: the fraction of a class's clips that each part should have, in units of their sum.
        min_parts: how many parts each class must be in.
        fixed: groups whose part is given.
        last_weight: how many times the last part's squared deviation from its share counts.
        seed: chooses among assignments that are equally good.

    Returns:
        The part of each group, an index of `shares`.

    Raises:
        NoAssignmentError: no assignment was found that has some class in its `min_parts`.
    """
    labels = sorted(min_parts)
    for label in labels:
        if sum(label in counts for counts in clip_counts.values()) < min_parts[label]:
            raise NoAssignmentError(label)
    keys = {group: hashlib.sha256(f"{seed}\n{group}".encode()).digest() for group in clip_counts}
    names = sorted(clip_counts, key=lambda group: (-sum(clip_counts[group].values()), keys[group]))
    assignment = _new_assignment(
        [clip_counts[name] for name in names], shares, labels, min_parts, last_weight, [keys[name][0] for name in names]
    )
    for group, name in enumerate(names):
        if name in fixed:
            assignment.assign(group, fixed[name])
    orders = _orders([keys[name] for name in names], sum(map(len, clip_counts.values())))
    for component in _components(assignment):
        while not _assign_component(assignment, component, orders):
            if not lower_wanted_parts(assignment, component):
                raise NoAssignmentError(labels[uncoverable_class(assignment, component)])
    return dict(zip(names, assignment.part_of, strict=True))


def _new_assignment(
    groups: Sequence[Mapping[str, int]],
    shares: Sequence[int],
    labels: Sequence[str],
    min_parts: Mapping[str, int],
    last_weight: int,
    tie_breakers: Sequence[int],
) -> Assignment:
    """Return an assignment whose classes are the indices of `labels`."""
    index = {label: number for number, label in enumerate(labels)}
    return Assignment(
        [{index[label]: count for label, count in sorted(group.items())} for group in groups],
        shares,
        last_weight,
        [min_parts[label] for label in labels],
        tie_breakers,
    )


def _orders(keys: Sequence[bytes], total: int) -> list[list[bytes]]:
    """Return sort keys of all groups for each attempt; the first attempt keeps their order.

    There are fewer attempts the larger `total` is, the number of classes summed over groups.
    """
    attempts = max(1, min(_ATTEMPTS, _ATTEMPT_BUDGET // max(1, total)))
    return [
        [hashlib.sha256(key + bytes([attempt])).digest() if attempt else b"" for key in keys]
        for attempt in range(attempts)
    ]


def _components(assignment: Assignment) -> list[list[int]]:
    """Return the connected components of classes, where classes that share a group are connected."""
    unvisited = set(range(len(assignment.groups_of)))
    components = []
    for start in range(len(assignment.groups_of)):
        if start not in unvisited:
            continue
        unvisited.remove(start)
        component = [start]
        for class_ in component:
            near = {other for group in assignment.groups_of[class_] for other in assignment.clips[group]} & unvisited
            unvisited -= near
            component += sorted(near)
        components.append(component)
    return components


def _assign_component(assignment: Assignment, classes: Sequence[int], orders: Sequence[Sequence[bytes]]) -> bool:
    """Assign the free groups of a component of classes; return False if no way was found.

    A local optimum can be a poor one, so the groups are taken in each of `orders`, and the best result is kept: the
    lowest cost, then the last part's total nearest to its share, then the lowest concentration. Fewer orders are tried
    where covering the classes takes many steps.
    """
    first_step = assignment.steps
    groups = sorted(
        {g for class_ in classes for g in assignment.groups_of[class_] if assignment.part_of[g] == UNASSIGNED}
    )
    best: dict[int, int] = {}
    lowest: tuple[int, int, int] | None = None
    for order in orders:
        for sortable in (groups, *(assignment.groups_of[class_] for class_ in classes)):
            sortable.sort(key=order.__getitem__)
        if cover_classes(assignment, classes) is None:
            break
        for group in groups:
            if assignment.part_of[group] == UNASSIGNED:
                assignment.assign(group, assignment.ranked_parts(group)[0])
        improve(assignment, classes, groups)
        cost = (
            assignment.cost(classes),
            abs(assignment.total_excess[assignment.last]),
            assignment.concentration(classes),
        )
        if lowest is None or cost < lowest:
            lowest, best = cost, {group: assignment.part_of[group] for group in groups}
        for group in groups:
            assignment.unassign(group)
        if assignment.steps - first_step > _STEP_BUDGET:
            break
    for group, part in best.items():
        assignment.assign(group, part)
    return lowest is not None
