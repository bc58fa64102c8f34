"""Knocking at a Ray address before Ray is imported: is anybody there, and do they ask for a token?"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import grpc

from tuning.errors import TuningError


class ClusterError(TuningError):
    """Ray can't be reached or can't run a trial."""


def check_address(address: str | None) -> None:
    """See that somebody answers there: Ray itself tries for minutes before it gives up.

    Raises:
        ClusterError: it is no `HOST:PORT`, or nobody answers.
    """
    if address is None or address == "auto":
        return
    if "://" in address:
        raise ClusterError(
            f"Ray address {address!r} is not HOST:PORT: a sweep runs inside the cluster, send it there with "
            "'ray job submit'"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"Ray address {address!r} is not HOST:PORT (such as 10.0.0.1:6379)")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address!r} ({error}): start one with 'ray start --head', or leave the "
            "address out to run on this machine"
        ) from None


def use_token_if_asked(address: str | None) -> None:
    """Send Ray's token to a cluster that asks for one; Ray itself does so at a named address only when told to.

    Ray reads RAY_AUTH_MODE once, when it is imported. And it must be right: where just one side goes by tokens, the
    head takes the sweep for dead.

    Raises:
        ClusterError: the cluster asks for a token and there is none here.
    """
    if address is None or address == "auto" or "RAY_AUTH_MODE" in os.environ or not _asks_for_token(address):
        return
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not given and not (Path.home() / ".ray" / "auth_token").is_file():
        raise ClusterError(
            f"the Ray cluster at {address!r} asks for a token: copy ~/.ray/auth_token of its head to ~/.ray/ here"
        )
    os.environ["RAY_AUTH_MODE"] = "token"


def _asks_for_token(address: str) -> bool:
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check_alive = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            check_alive(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.UNAUTHENTICATED
    return False
