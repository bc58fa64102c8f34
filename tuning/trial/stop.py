"""Ask a training process to end its trial at the next step; light to import, since trial drivers import it too."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

_T = TypeVar("_T")

_stop_requested = threading.Event()


class TrialStopped(Exception):
    """The trial that runs in this process was requested to stop."""


def request_stop() -> None:
    """Request that training in this process stops."""
    _stop_requested.set()


def clear_stop_request() -> None:
    """Drop the request of an earlier trial in this process."""
    _stop_requested.clear()


def until_stopped(batches: Iterable[_T]) -> Iterator[_T]:
    """Yield from `batches` until a stop is requested.

    Raises:
        TrialStopped: a stop was requested.
    """
    for batch in batches:
        if _stop_requested.is_set():
            raise TrialStopped
        yield batch
