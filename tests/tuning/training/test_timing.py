"""Seconds by what they were spent on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tuning.training.timing import TIME_METRICS, Stopwatch


def late(batches: int, seconds: float) -> Iterator[int]:
    for number in range(batches):
        time.sleep(seconds)
        yield number


def test_waiting_is_not_counted_as_training() -> None:
    watch = Stopwatch()
    began = time.perf_counter()
    with watch.phase("train"):
        seen = []
        for number in watch.iterate(late(3, 0.05)):
            time.sleep(0.02)
            seen.append(number)
    whole = time.perf_counter() - began
    taken = watch.collect()
    assert seen == [0, 1, 2]
    assert tuple(taken) == TIME_METRICS
    assert taken["seconds_wait"] >= 0.15
    assert taken["seconds_train"] >= 0.06
    assert sum(taken.values()) == pytest.approx(whole, abs=0.01)


def test_counts_on_from_nothing() -> None:
    watch = Stopwatch()
    with watch.phase("val"):
        time.sleep(0.01)
    assert watch.collect()["seconds_val"] >= 0.01
    assert set(watch.collect().values()) == {0.0}


def test_counts_what_ended_in_an_error() -> None:
    watch = Stopwatch()

    def broken() -> None:
        with watch.phase("save"):
            time.sleep(0.01)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        broken()
    assert watch.collect()["seconds_save"] >= 0.01


def test_timed_calls_count_apart_from_what_they_are_part_of() -> None:
    watch = Stopwatch()

    def doubled(number: int, *, late: float) -> int:
        time.sleep(late)
        return 2 * number

    with watch.phase("train"):
        assert watch.wrap("vary", doubled)(4, late=0.02) == 8
    taken = watch.collect()
    assert taken["seconds_vary"] >= 0.02 > taken["seconds_train"]
