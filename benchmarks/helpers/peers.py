"""Other packages and programs that a benchmark compares with, if they are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

_Peer = TypeVar("_Peer")


def find_peers(makers: Mapping[str, Callable[[], tuple[str, _Peer]]]) -> tuple[dict[str, _Peer], list[str]]:
    """Make each peer.

    Args:
        makers: by short name, functions that return a name with version, and the peer.

    Returns:
        The peers by name with version, and one line for each that failed, with the reason.
    """
    found: dict[str, _Peer] = {}
    missing = []
    for short_name, make in makers.items():
        try:
            name, peer = make()
        except Exception as error:  # A peer may fail in any way; the reason is printed.
            reason = (str(error).strip().splitlines() or [""])[0]
            missing.append(f"{short_name}: {type(error).__name__}: {reason}")
        else:
            found[name] = peer
    return found, missing
