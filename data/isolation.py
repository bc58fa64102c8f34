"""Call a function in processes that may crash or hang, so that each such call fails alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

T = TypeVar("T")
R = TypeVar("R")

_QUEUED_PER_WORKER = 2
"""One item in work and one waiting, so that no process idles."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Replaces the result of a call whose process crashed or exceeded the time limit."""

    reason: str


def run_isolated(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, seconds: float
) -> Generator[tuple[T, R | CallFailure], None, None]:
    """Call a function for each item in parallel processes; yield item and result in order of completion.

    Items are drawn as processes become free, so memory does not grow with their number. A process that crashes or
    hangs is replaced. All processes end when the caller closes the generator or a call raises an exception.

    Args:
        function: can be pickled; its exceptions are raised here.
        items: can be pickled.
        workers: number of processes.
        seconds: time limit per call.
    """
    # Never fork: the caller may have threads (Ray, MLflow), and a forked child can deadlock on their locks.
    pool = ProcessPool(max_workers=workers, context=multiprocessing.get_context("spawn"))
    source, running = iter(items), dict[Future[R], T]()
    try:
        while True:
            for item in islice(source, _QUEUED_PER_WORKER * workers - len(running)):
                running[pool.schedule(function, args=(item,), timeout=seconds)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = _result(future, seconds)
                yield running.pop(future), result
    finally:
        pool.stop()
        pool.join()


def _result(future: Future[R], seconds: float) -> R | CallFailure:
    try:
        return future.result()
    except FutureTimeoutError:
        return CallFailure(f"took more than {seconds:g} s")
    except ProcessExpired as error:
        return CallFailure(f"crashed (exit code {error.exitcode})")
