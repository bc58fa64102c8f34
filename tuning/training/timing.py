"""Measure where the time of a trial goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")

PHASES = ("start", "wait", "copy", "vary", "train", "val", "save", "report")
"""`start`: preparing the trial. `wait`: waiting for batches, also in validation. `copy` and `vary`: copying a training
batch to the device and augmenting it (on a GPU only the host's part; the rest overlaps the previous step). `train`:
forward and backward passes and the optimizer. `val`: validation. `save`: writing a checkpoint. `report`: reporting it,
which copies it to the run's storage."""

TIME_METRICS = tuple(f"seconds_{phase}" for phase in PHASES)
"""The metrics of an epoch that have the seconds of each phase."""


class Stopwatch:
    """Add up the seconds of phases. The time of a nested phase counts for the inner phase only."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._nested = [0.0]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time in this context for a phase."""
        began = time.perf_counter()
        self._nested.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._seconds[name] += spent - self._nested.pop()
            self._nested[-1] += spent

    def iterate(self, batches: Iterable[_T]) -> Iterator[_T]:
        """Yield the batches, and count the time until each is available as `wait`."""
        source = iter(batches)
        while True:
            with self.phase("wait"):
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    def wrap(self, name: str, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return the function with the time of each call counted for a phase."""

        def timed(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with self.phase(name):
                return function(*args, **kwargs)

        return timed

    def collect(self) -> dict[str, float]:
        """Return the seconds since the last call, by the name of their metric, and start from zero again."""
        collected = {f"seconds_{name}": seconds for name, seconds in self._seconds.items()}
        self._seconds = dict.fromkeys(PHASES, 0.0)
        return collected
