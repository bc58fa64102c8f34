"""Patterns for the messages of errors."""

from __future__ import annotations

import re


def exactly(message: str) -> str:
    """Return a pattern for `pytest.raises(match=…)` that matches this whole message."""
    return f"^{re.escape(message)}$"
