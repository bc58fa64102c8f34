"""TCP ports of this machine."""

from __future__ import annotations

import socket

from tuning.errors import TuningError


def check_port(host: str, port: int) -> None:
    """Check that a server can listen at `host:port`, since MLflow's server exits without saying why.

    Raises:
        TuningError: the port is in use or not valid.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TuningError(f"can't serve at {host}:{port} ({reason}): give another --port") from None


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that no server listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
