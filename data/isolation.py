"""Calls in processes that may crash or hang: each such call costs its own item alone."""

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

_AHEAD = 2
"""Items handed out for each process: one in work, one waiting, so that no process idles."""


@dataclass(frozen=True, slots=True)
class Lost:
    """In place of the result of a call whose process died or took too long."""

    reason: str


def run_isolated(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, seconds: float
) -> Generator[tuple[T, R | Lost], None, None]:
    """Call a function for each item in parallel processes; results come as they are ready.

    Items are drawn from their iterable as processes become free, so memory does not grow with their number. A
    process that dies or hangs is replaced. When the caller ends early, or a call raises, all processes end.

    Args:
        function: can be pickled; its errors are raised here.
        items: can be pickled.
        workers: processes.
        seconds: time limit of a call.
    """
    # Never fork: the caller may hold threads (Ray, MLflow), and a forked child can deadlock on their locks.
    pool = ProcessPool(max_workers=workers, context=multiprocessing.get_context("spawn"))
    source, running = iter(items), dict[Future[R], T]()
    try:
        while True:
            for item in islice(source, _AHEAD * workers - len(running)):
                running[pool.schedule(function, args=(item,), timeout=seconds)] = item
            if not running:
                return
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                result = _result(job, seconds)
                yield running.pop(job), result
    finally:
        pool.stop()
        pool.join()


def _result(job: Future[R], seconds: float) -> R | Lost:
    try:
        return job.result()
    except FutureTimeoutError:
        return Lost(f"took more than {seconds:g} s")
    except ProcessExpired as error:
        return Lost(f"crashed (exit code {error.exitcode})")
