"""Where a trial's time goes: seconds by what they were spent on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")

PHASES = ("start", "wait", "copy", "vary", "train", "val", "save", "report")
"""Preparing a trial; waiting for batches, also of validation; a training batch's way to the device and its augmentation
(on a GPU only what the host does of either: the rest is done beside the step before); forward and backward passes and
the optimiser; validation; writing a checkpoint; reporting it, which copies it to where checkpoints are kept."""

TIME_METRICS = tuple(f"seconds_{kind}" for kind in PHASES)
"""The metrics of an epoch that hold them."""


class Stopwatch:
    """Adds up seconds; what is timed within something else counts for the inner alone."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._inside = [0.0]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens within counts as `name`."""
        began = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._seconds[name] += spent - self._inside.pop()
            self._inside[-1] += spent

    def iterate(self, batches: Iterable[_T]) -> Iterator[_T]:
        """The batches; what it takes until each is there counts as waiting."""
        source = iter(batches)
        while True:
            with self.phase("wait"):
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    def wrap(self, name: str, work: Callable[_P, _T]) -> Callable[_P, _T]:
        """The same work; each call counts as `name`."""

        def timed(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with self.phase(name):
                return work(*args, **kwargs)

        return timed

    def collect(self) -> dict[str, float]:
        """The seconds since it was last asked, by the name of their metric; counts on from nothing."""
        taken = {f"seconds_{kind}": seconds for kind, seconds in self._seconds.items()}
        self._seconds = dict.fromkeys(PHASES, 0.0)
        return taken
