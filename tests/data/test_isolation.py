"""Calls in isolated processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from data.isolation import CallFailure, run_isolated


def _square(number: int) -> int:
    return number * number


def _crash_on_three(number: int) -> int:
    if number == 3:
        os.abort()
    return number


def _hang_on_three(number: int) -> int:
    while number == 3:
        time.sleep(1)
    return number


def _raise_on_three(number: int) -> int:
    if number == 3:
        raise ValueError("three is rejected")
    return number


def test_each_item_gets_its_result() -> None:
    results = dict(run_isolated(_square, range(20), workers=2, seconds=60))
    assert results == {number: number * number for number in range(20)}


def test_items_are_drawn_only_as_processes_become_free() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(200):
            drawn += 1
            yield number

    ahead = [drawn - done for done, _ in enumerate(run_isolated(_square, items(), workers=2, seconds=60))]
    assert len(ahead) == 200
    assert max(ahead) <= 4


@pytest.mark.parametrize(
    ("function", "seconds", "reason"),
    [(_crash_on_three, 60, "crashed (exit code -6)"), (_hang_on_three, 2, "took more than 2 s")],
)
def test_crash_or_hang_fails_its_item_alone(function: object, seconds: float, reason: str) -> None:
    results = dict(run_isolated(function, range(6), workers=2, seconds=seconds))  # type: ignore[arg-type]
    assert results.pop(3) == CallFailure(reason)
    assert results == {number: number for number in (0, 1, 2, 4, 5)}


def test_exception_of_the_function_is_raised() -> None:
    with pytest.raises(ValueError, match="three is rejected"):
        list(run_isolated(_raise_on_three, range(6), workers=1, seconds=60))


def test_closing_the_generator_ends_all_processes() -> None:
    results = run_isolated(_pid, range(100), workers=2, seconds=60)
    pids = {next(results)[1] for _ in range(4)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)  # type: ignore[arg-type]


def _pid(number: int) -> int:
    return os.getpid()
