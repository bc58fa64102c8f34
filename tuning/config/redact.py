"""Addresses of tracking servers and databases, which may hold a password: what of them may be shown and kept."""

from __future__ import annotations

import os
import re

VARIABLE = "MLFLOW_TRACKING_URI"

# A web address' login ends before the first slash; a database's, as SQLAlchemy reads it, at the first @.
_WEB = re.compile(r"(?P<scheme>https?://)(?P<login>[^/?#]*)@(?P<place>.*)", re.IGNORECASE | re.DOTALL)
_DATABASE = re.compile(r"(?P<scheme>[^:]+://)(?P<login>[^:/@]*:[^@]*)@(?P<place>.*)", re.DOTALL)
_IN_QUERY = re.compile(r"(?P<mark>[?&])(?:[a-z_]*(?:passw|pwd|token|secret)[a-z_]*|odbc_connect)=[^&]*", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"PASSWORD|TOKEN|SECRET|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 4


def without_secrets(uri: str) -> str:
    """The address without its password; of a web address without the user too, who may be a token."""
    if web := _WEB.fullmatch(uri):
        uri = web["scheme"] + web["place"]
    elif database := _DATABASE.fullmatch(uri):
        user = database["login"].partition(":")[0]
        uri = f"{database['scheme']}{user}{'@' if user else ''}{database['place']}"
    if not _IN_QUERY.search(uri):
        return uri
    address, _, query = _IN_QUERY.sub(lambda found: found["mark"], uri).partition("?")
    kept = "&".join(filter(None, query.split("&")))
    return f"{address}?{kept}" if kept else address


def with_secrets(shown: str) -> str:
    """The address in full, where MLFLOW_TRACKING_URI has it."""
    given = os.environ.get(VARIABLE, "")
    return given if without_secrets(given) == shown else shown


def scrubbed(text: str, uri: str) -> str:
    """A message without what of the address, or of the environment, is secret: libraries quote what they were given."""
    text = text.replace(uri, without_secrets(uri))
    found = _WEB.fullmatch(uri) or _DATABASE.fullmatch(uri)
    in_uri = (found["login"], found["login"].partition(":")[2]) if found else ()
    secrets = {*in_uri, *(value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name))}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text
