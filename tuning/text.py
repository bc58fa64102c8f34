"""How numbers are said in sentences."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{number} {what}{'s' if number != 1 else ''}"
