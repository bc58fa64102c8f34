"""TCP ports of this machine."""

from __future__ import annotations

import socket

from tuning.errors import TuningError


def check_port(host: str, port: int) -> None:
    """Check that a server can listen at `host:port`, since MLflow's server exits without saying why.

    Raises:
        TuningError: the port is in use or not valid, or the host is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address[0], port, *address[2:]))
    except socket.gaierror as error:
        raise TuningError(f"can't serve at {host!r} ({error.strerror}): give another --host") from None
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TuningError(f"can't serve at {host}:{port} ({reason}): give another --port") from None


def page_address(host: str, port: int) -> str:
    """Return the address of a page that is served at `host:port`."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that no server listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
