"""The HTTP proxies that environment variables name: not used for this machine's own servers, named in messages.

It is a module of its own because `models` and `tuning` both make requests. It imports none of them.
"""

from __future__ import annotations

import os
import urllib.request
from ipaddress import ip_address
from urllib.parse import urlsplit

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def bypass_proxies_for_this_machine() -> None:
    """Add this machine's loopback addresses to `no_proxy`, for this process and those that it starts.

    HTTP libraries send even requests to 127.0.0.1 to a proxy, which reaches a server of its own there, or none.
    """
    if not any(name.lower() in _VARIABLES for name in os.environ):
        return
    hosts = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",")
    if "*" in map(str.strip, hosts):
        return
    bypassed = ",".join(filter(None, dict.fromkeys([*map(str.strip, hosts), *_THIS_MACHINE])))
    os.environ.update(no_proxy=bypassed, NO_PROXY=bypassed)


def bypass_all_proxies() -> None:
    """Make this process, and those that it starts, use no proxy for any host."""
    os.environ.update(no_proxy="*", NO_PROXY="*")


def proxy_for(url: str) -> str:
    """Return the address of the proxy through which a URL is requested; empty if it is requested directly.

    The address may contain a password: `without_login` removes it.
    """
    parts = urlsplit(url)
    if _is_this_machine(parts.hostname or "") or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    found = urllib.request.getproxies()
    return found.get(parts.scheme) or found.get("all") or ""


def without_login(proxy: str) -> str:
    """Return the address of a proxy without its user and password."""
    scheme, separator, rest = proxy.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in _THIS_MACHINE
