"""Ports of this machine that a server of ours listens on."""

from __future__ import annotations

import socket

from tuning.errors import TuningError


def check_port(host: str, port: int) -> None:
    """See that pages can be served there: MLflow's server ends without a word on its exit code.

    Raises:
        TuningError: the port is taken, or is none.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TuningError(f"can't serve at {host}:{port} ({reason}): give another --port") from None
