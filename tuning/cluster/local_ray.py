"""What Ray needs to start on this machine: a folder that its sockets fit into, an address, and a token."""

from __future__ import annotations

import glob
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tuning.cluster.address import ClusterError

_MAX_SOCKET_PATH = 107
"""Bytes of a socket's path that Linux allows."""
_SOCKET = f"session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
"""A path as long as the longest of Ray's sockets in its folder."""
_LOADER_SOCKET = "/pymp-12345678/listener-12345678"
_LOOPBACK = "127.0.0.2"
"""Ray replaces 127.0.0.1 by the address that it has found."""
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def ray_folder() -> Path:
    """Return the folder for Ray's sockets and logs: `ray` under RAY_TMPDIR or TMPDIR, as Ray itself has it.

    If it can't be used, it is one that can, and a note is printed.

    Raises:
        ClusterError: no folder can be used.
    """
    variable, wanted = next(_set_variables(), ("", "/tmp"))
    problem = _problem(Path(wanted, "ray"))
    if not problem:
        return Path(wanted, "ray")
    for folder in _other_folders():
        if not _problem(folder):
            if variable:
                print(f"note: Ray's files go to {folder}: {wanted!r} ({variable}) {problem}", flush=True)
            return folder
    raise ClusterError(
        f"Ray can't be started here: {wanted!r}, the folder for its sockets, {problem}; set RAY_TMPDIR to a folder "
        f"that you can write and whose path has at most {_max_folder_bytes()} bytes"
    )


def short_tmpdir(ray: Path) -> dict[str, str]:
    """Return TMPDIR for the workers if the one of this process is too long for the sockets of loader processes.

    They pass batches through these, and their worker would wait for the first batch forever.

    Args:
        ray: the result of `ray_folder`.
    """
    is_long = len(os.fsencode(os.environ.get("TMPDIR", ""))) > _MAX_SOCKET_PATH - len(_LOADER_SOCKET)
    return {"TMPDIR": str(ray.parent)} if is_long else {}


def local_address(found: str) -> str | None:
    """Return the IP address for Ray's processes on this machine; None if Ray's own choice works.

    Args:
        found: the address that Ray has found. If it is one of IPv6, its processes don't find each other there.

    Raises:
        ClusterError: the machine has no IPv4 address, not even 127.0.0.1.
    """
    if ":" not in found:
        return None
    with socket.socket() as probe:
        try:
            probe.bind((_LOOPBACK, 0))
        except OSError:
            raise ClusterError(
                "Ray can't be started here: it needs an IPv4 loopback address, and this machine has none; add it by: "
                "ip address add 127.0.0.1/8 dev lo"
            ) from None
    return _LOOPBACK


def provide_token() -> None:
    """Set a token for this process's own Ray if Ray can't store one in the home folder, as it does by default."""
    needs_token = os.environ.get("RAY_AUTH_MODE", "token") == "token"
    if needs_token and not any(map(os.environ.get, _TOKEN_VARIABLES)) and not _can_store_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _set_variables() -> Iterator[tuple[str, str]]:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if value := os.environ.get(name):
            yield name, value


def _other_folders() -> Iterator[Path]:
    with suppress(FileNotFoundError):  # There is no temporary folder at all.
        yield Path(tempfile.gettempdir(), "ray")
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        yield Path(folder, "ray")
        # Another user's folder may be closed to others.
        yield Path(folder, f"ray-{os.getuid()}")


def _problem(folder: Path) -> str:
    """Return why Ray can't use a folder, which it creates if it does not exist; empty if it can."""
    if len(os.fsencode(folder / _SOCKET)) > _MAX_SOCKET_PATH:
        return f"is longer than the {_max_folder_bytes()} bytes that leave space for the names of its sockets"
    if glob.escape(str(folder)) != str(folder):
        return "has one of the characters *, ? and [, by which Ray would not find the state of a search again"
    reason = _write_problem(folder)
    return f"can't be written ({reason})" if reason else ""


def _write_problem(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _max_folder_bytes() -> int:
    return _MAX_SOCKET_PATH - len(f"/ray/{_SOCKET}")


def _can_store_token() -> bool:
    """Return whether the home folder has Ray's token, or can get it."""
    # Ray goes by the variable alone when it reads the token.
    if not os.environ.get("HOME"):
        return False
    folder = Path(os.environ["HOME"], ".ray")
    if os.access(folder / "auth_token", os.R_OK):
        return True
    return not os.path.exists(folder / "auth_token") and not _write_problem(folder)
