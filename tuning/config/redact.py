"""Remove passwords and tokens from addresses of tracking servers and databases."""

from __future__ import annotations

import os
import re

TRACKING_URI_VARIABLE = "MLFLOW_TRACKING_URI"

# The login of a web address ends before the first slash; that of a database, as SQLAlchemy parses it, at the first @.
_WEB = re.compile(r"(?P<scheme>https?://)(?P<login>[^/?#]*)@(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_DATABASE = re.compile(r"(?P<scheme>[^:]+://)(?P<login>[^:/@]*:[^@]*)@(?P<rest>.*)", re.DOTALL)
_IN_QUERY = re.compile(r"(?P<mark>[?&])(?:[a-z_]*(?:passw|pwd|token|secret)[a-z_]*|odbc_connect)=[^&]*", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"PASSWORD|TOKEN|SECRET|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
_MIN_SECRET_LENGTH = 4


def redact_uri(uri: str) -> str:
    """Return the address without its password; for a web address also without the user, which may be a token."""
    if web := _WEB.fullmatch(uri):
        uri = web["scheme"] + web["rest"]
    elif database := _DATABASE.fullmatch(uri):
        user = database["login"].partition(":")[0]
        uri = f"{database['scheme']}{user}{'@' if user else ''}{database['rest']}"
    address, mark, query = uri.partition("?")
    if not _IN_QUERY.search(mark + query):
        return uri
    query = _IN_QUERY.sub(lambda found: found["mark"], mark + query).removeprefix("?")
    remaining = "&".join(filter(None, query.split("&")))
    return f"{address}?{remaining}" if remaining else address


def restore_uri(redacted: str) -> str:
    """Return the full address if MLFLOW_TRACKING_URI contains it, else the redacted one."""
    full = os.environ.get(TRACKING_URI_VARIABLE, "")
    return full if redact_uri(full) == redacted else redacted


def redact_message(text: str, uri: str) -> str:
    """Return an error message without the secrets of the address or the environment, which libraries may quote.

    Args:
        text: the message.
        uri: the full address that the library was called with.
    """
    text = text.replace(uri, redact_uri(uri))
    found = _WEB.fullmatch(uri) or _DATABASE.fullmatch(uri)
    in_uri = (found["login"], found["login"].partition(":")[2]) if found else ()
    secrets = {*in_uri, *(value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name))}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_LENGTH:
            text = text.replace(secret, "***")
    return text
