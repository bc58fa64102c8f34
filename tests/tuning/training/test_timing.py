"""Seconds of each phase, on a clock that the tests move."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tuning.training.timing import PHASES, TIME_METRICS, Stopwatch


class Clock:
    """Stands in for `time.perf_counter`."""

    def __init__(self) -> None:
        self.now = 100.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def seconds(**expected: float) -> dict[str, float]:
    """Return the metrics of all phases, 0 for those that are not named."""
    return {f"seconds_{phase}": pytest.approx(expected.get(phase, 0.0)) for phase in PHASES}


def test_waiting_for_batches_is_not_counted_as_training(clock: Clock) -> None:
    def slow_batches() -> Iterator[int]:
        for number in range(3):
            clock.advance(0.5)
            yield number

    watch = Stopwatch()
    found = []
    with watch.phase("train"):
        for number in watch.iterate(slow_batches()):
            clock.advance(0.2)
            found.append(number)
    assert found == [0, 1, 2]
    collected = watch.collect()
    assert tuple(collected) == TIME_METRICS
    assert collected == seconds(wait=1.5, train=0.6)


def test_collect_starts_from_zero_again(clock: Clock) -> None:
    watch = Stopwatch()
    with watch.phase("val"):
        clock.advance(1)
    assert watch.collect() == seconds(val=1)
    assert watch.collect() == seconds()


def test_a_phase_that_raises_is_counted(clock: Clock) -> None:
    watch = Stopwatch()

    def fail() -> None:
        with watch.phase("save"):
            clock.advance(1)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert watch.collect() == seconds(save=1)


def test_wrapped_calls_are_not_counted_for_the_outer_phase(clock: Clock) -> None:
    watch = Stopwatch()

    def double(number: int, *, duration: float) -> int:
        clock.advance(duration)
        return 2 * number

    with watch.phase("train"):
        clock.advance(3)
        assert watch.wrap("vary", double)(4, duration=2) == 8
    assert watch.collect() == seconds(train=3, vary=2)


def test_real_time_is_measured() -> None:
    watch = Stopwatch()
    began = time.perf_counter()
    with watch.phase("val"):
        time.sleep(0.01)
    assert 0.01 <= watch.collect()["seconds_val"] <= time.perf_counter() - began
