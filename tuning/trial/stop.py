"""How a training process is asked to end its trial at the next step; light, since drivers import it too."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

_T = TypeVar("_T")

_asked = threading.Event()


class Stopped(Exception):
    """The trial was asked to end."""


def ask() -> None:
    """End what trains in this process."""
    _asked.set()


def begin() -> None:
    """Forget what an earlier trial in this process was asked."""
    _asked.clear()


def until_asked(batches: Iterable[_T]) -> Iterator[_T]:
    """The same batches, as long as nobody asks for the end.

    Raises:
        Stopped: somebody did.
    """
    for batch in batches:
        if _asked.is_set():
            raise Stopped
        yield batch
