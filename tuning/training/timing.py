"""Where a trial's time goes: seconds by what they were spent on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

KINDS = ("start", "wait", "copy", "vary", "train", "val", "save", "report")
"""Preparing a trial; waiting for batches, also of validation; a training batch's way to the device and its augmentation
(on a GPU only what the host does of either: the rest is done beside the step before); forward and backward passes and
the optimiser; validation; writing a checkpoint; reporting it, which copies it to where checkpoints are kept."""

TIMES = tuple(f"seconds_{kind}" for kind in KINDS)
"""The metrics of an epoch that hold them."""


class Stopwatch:
    """Adds up seconds; what is timed within something else counts for the inner alone."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._inside = [0.0]

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """What happens within counts as `kind`."""
        began = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._seconds[kind] += spent - self._inside.pop()
            self._inside[-1] += spent

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches; what it takes until each is there counts as waiting."""
        source = iter(batches)
        while True:
            with self.timed("wait"):
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    def timing(self, kind: str, work: Callable[P, T]) -> Callable[P, T]:
        """The same work; each call counts as `kind`."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.timed(kind):
                return work(*args, **kwargs)

        return timed

    def taken(self) -> dict[str, float]:
        """The seconds since it was last asked, by the name of their metric; counts on from nothing."""
        taken = {f"seconds_{kind}": seconds for kind, seconds in self._seconds.items()}
        self._seconds = dict.fromkeys(KINDS, 0.0)
        return taken
