"""Check a Ray address before Ray is imported: does a server answer, and does it require a token?"""

from __future__ import annotations

import os
import socket

import grpc

from tuning.errors import TuningError


class ClusterError(TuningError):
    """Ray can't be reached or can't run a trial."""


def check_address(address: str | None) -> None:
    """Check that a server answers at `address`, since Ray itself retries for minutes.

    Args:
        address: `HOST:PORT`; None and `auto` are not checked.

    Raises:
        ClusterError: the address is not `HOST:PORT`, or no server answers.
    """
    if address is None or address == "auto":
        return
    if "://" in address:
        raise ClusterError(
            f"Ray address {address!r} is not HOST:PORT: a sweep runs inside the cluster, submit it there with "
            "'ray job submit'"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"Ray address {address!r} is not HOST:PORT (such as 10.0.0.1:6379)")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address!r} ({error}): start one with 'ray start --head', or omit the address "
            "to run on this machine"
        ) from None


def use_token_if_required(address: str | None) -> None:
    """Set RAY_AUTH_MODE for a cluster that requires a token, which Ray does not do itself for a given address.

    Call this before Ray is imported, when it reads RAY_AUTH_MODE. The mode must match the cluster's: if only one side
    uses tokens, the head takes the sweep for dead.

    Args:
        address: `HOST:PORT`; does nothing for None and `auto`.

    Raises:
        ClusterError: the cluster requires a token and there is no token on this machine.
    """
    if address is None or address == "auto" or "RAY_AUTH_MODE" in os.environ or not _requires_token(address):
        return
    token = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not token and not os.path.isfile(os.path.expanduser("~/.ray/auth_token")):
        raise ClusterError(
            f"the Ray cluster at {address!r} requires a token: copy ~/.ray/auth_token from its head to ~/.ray/ here"
        )
    os.environ["RAY_AUTH_MODE"] = "token"


def _requires_token(address: str) -> bool:
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check_alive = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            check_alive(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.UNAUTHENTICATED
    return False
