"""The head of Ray's cluster: without it Ray ends the sweep's process, and has no word for its user."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PAUSE, _PATIENCE = 2.0, 5.0
"""Seconds between two looks, and of one look."""


@contextmanager
def told_when_gone(address: str, what: str) -> Iterator[None]:
    """While this runs, print what to do when the head no longer answers.

    Args:
        address: `HOST:PORT` of the head.
        what: a line.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_PAUSE):
            # Twice: one look may fail on a busy machine.
            if not _answers(address) and not _answers(address):
                print(f"\n{what}", flush=True)
                return

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True
